"""A pool's process whose controller was killed: idle, it ends; at work, it ends its trial first."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_at_work = threading.Event()


def end_with(controller: int) -> None:
    """Run first in each process of a pool: end the process when `controller`, its parent, is gone.

    One that waits for its first job, or for another, would wait on: five minutes with joblib.
    """
    threading.Thread(target=_watch, args=(controller,), name="orphan watch", daemon=True).start()


@contextmanager
def at_work() -> Iterator[None]:
    """Within, the process is a worker, which looks itself whether its controller lives."""
    _at_work.set()
    try:
        yield
    finally:
        _at_work.clear()


def _watch(controller: int) -> None:
    while os.getppid() == controller or _at_work.is_set():
        time.sleep(0.5)
    os._exit(0)
