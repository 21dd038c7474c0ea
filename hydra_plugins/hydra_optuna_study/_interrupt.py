"""Ctrl-C or SIGTERM: the first asks to stop at the next step, the second ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # a person; a cluster that takes its machine back
asked = threading.Event()  # of this process; a controller and its in-process worker share it
_handling = threading.Event()  # whether this process has the handler already


class Stopped(KeyboardInterrupt):
    """Raised inside a trial, at a report, when its study is to stop."""


@contextmanager
def polite_interrupt(told: Callable[[], None] | None = None) -> Iterator[None]:
    """Within, the first signal sets `asked` and calls `told`; the next is a KeyboardInterrupt."""
    if _handling.is_set() or threading.current_thread() is not threading.main_thread():
        yield  # only a main thread may have a handler; a worker in another learns from the storage
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        if told:
            told()

    asked.clear()  # of an earlier search or worker in this process
    before = [signal.signal(number, handle) for number in SIGNALS]
    _handling.set()
    try:
        yield
    finally:
        _handling.clear()
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
