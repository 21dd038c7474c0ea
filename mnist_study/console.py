"""How a command ends for a user's mistake: one sentence on stderr and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NoReturn


def abort(sentence: str, code: int = 2) -> NoReturn:
    """Print the sentence under the program's name. Raises: SystemExit(code)."""
    print(f"mnist_study: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def closest(word: str, known: Iterable[str]) -> str | None:
    """Which of the `known` dotted names was probably meant by `word`, if any.

    A misspelt name in its own section comes first, then a name without its section (`lr`).
    """
    names = sorted(known)
    section, _, last = word.rpartition(".")
    lasts = {name.rpartition(".")[2]: name for name in reversed(names)}
    beside = {k: name for k, name in lasts.items() if f"{section}.{k}".lstrip(".") in names}
    if near := get_close_matches(last, beside, 1, 0.55):
        return f"{section}.{near[0]}".lstrip(".")
    if near := get_close_matches(last, lasts, 1, 0.8):
        return lasts[near[0]]
    return next(iter(get_close_matches(word, names, 1, 0.85)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that refuses `word`: what was probably meant, or nothing."""
    meant = closest(word, known)
    return f"; did you mean {meant}?" if meant else ""
