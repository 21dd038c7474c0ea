"""What a task may ask of its worker: its trial, and to let the next one begin early.

Context variables, free of imports for runs without a study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Trial

running: ContextVar[Trial | None] = ContextVar("running_trial", default=None)


def current_trial() -> Trial | None:
    """The trial whose job this is, or None outside of a study."""
    return running.get()


_behind: ContextVar[list[Callable[[], None]] | None] = ContextVar("left_behind", default=None)


def leave_behind(wait: Callable[[], None]) -> None:
    """Let the next trial begin while something of this one is still under way (its upload, say).

    `wait` returns when that is over. It is called before another trial leaves something behind,
    and before the worker ends; at once, outside of a worker.
    """
    waits = _behind.get()
    if waits is None:
        wait()
        return
    while waits:
        waits.pop()()
    waits.append(wait)


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """A worker's day: at its end all is over that trials have left behind."""
    waits: list[Callable[[], None]] = []
    token = _behind.set(waits)
    try:
        yield
    finally:
        _behind.reset(token)
        while waits:
            waits.pop()()
