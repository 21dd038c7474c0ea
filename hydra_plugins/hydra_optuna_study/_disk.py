"""A full disk is nobody's fault in the study: its trials are given back, and the search stops."""

from __future__ import annotations

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error, however it was wrapped on its way."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if "database or disk is full" in str(error):  # SQLite's words, in a driver's own class
            return True
        error = error.__cause__ or error.__context__
    return False
