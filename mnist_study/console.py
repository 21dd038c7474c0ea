"""How a command ends for a user's mistake: one sentence on stderr and an exit code."""

from __future__ import annotations

import sys
from typing import NoReturn


def abort(sentence: str, code: int = 2) -> NoReturn:
    """Print the sentence under the program's name. Raises: SystemExit(code)."""
    print(f"mnist_study: {sentence}", file=sys.stderr)
    raise SystemExit(code)
