"""Ctrl-C: the first asks workers to stop at their next step, the second interrupts where it falls."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

asked = threading.Event()  # of this process; a controller and its in-process worker share it


class Stopped(KeyboardInterrupt):
    """Raised inside a trial, at a report, when its study is to stop."""


@contextmanager
def polite_interrupt(told: Callable[[], None] | None = None) -> Iterator[None]:
    """Within, the first SIGINT sets `asked` and calls `told`; the next is a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only a main thread may have handlers; such a worker is told by the storage
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        if told:
            told()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
