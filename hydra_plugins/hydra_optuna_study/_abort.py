"""A user's mistake: one sentence on stderr, exit code 2, before anything is written or launched."""

from __future__ import annotations

import sys
from typing import NoReturn


def refuse(sentence: str) -> NoReturn:
    """Raises: SystemExit(2), after the sentence."""
    print(sentence, file=sys.stderr, flush=True)
    raise SystemExit(2)
