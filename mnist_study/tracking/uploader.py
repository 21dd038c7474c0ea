"""A thread that carries a run's records away while the run goes on, and never stands in its way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from mnist_study.tracking.outbox import Spool

INTERVAL = 5.0  # seconds between two portions: a run that is watched moves, and is not slowed
RETRY = 2.0  # seconds before another try
PATIENCE = 10.0  # seconds without progress that the end of a run waits for a store in trouble
SLOW_PATIENCE = 60.0  # the same while nothing has failed: an import, a new database, a busy machine

_log = logging.getLogger(__name__)


class Courier(threading.Thread):
    """Delivers the records of one spool, some every few seconds, the rest at the end."""

    def __init__(self, spool: Spool, deliver: Callable[[Spool], None]) -> None:
        """`deliver` sends what is waiting and marks what has arrived; it raises if it cannot."""
        super().__init__(name=f"courier of {spool.folder}", daemon=True)
        self._spool, self._deliver = spool, deliver
        self._wake, self._over = threading.Event(), threading.Event()
        self._given_up = False
        self.trouble: Exception | None = None  # why the last try failed

    def run(self) -> None:
        """Deliver until the run is over and everything has arrived."""
        while not self._given_up:
            last = self._over.is_set()
            try:
                self._deliver(self._spool)
                self.trouble = None
            except Exception as error:  # noqa: BLE001 - whatever the store says, the training goes on
                if self.trouble is None:
                    _log.info("tracking waits: %s", error)
                self.trouble = error
            if last and self.trouble is None:
                break
            if not (self._over.is_set() and self.trouble is None):
                self._wake.wait(INTERVAL if self.trouble is None else RETRY)
                self._wake.clear()
        self._spool.close()

    def end(self) -> None:
        """Nothing more is written: deliver the rest, now."""
        self._over.set()
        self._wake.set()

    def finish(self) -> bool:
        """Wait until the rest is delivered; False if it could not be, after a bounded time."""
        self.end()
        progress, left = time.monotonic(), len(self._spool.waiting)
        while self.is_alive():
            self.join(0.05)
            if len(self._spool.waiting) != left:
                progress, left = time.monotonic(), len(self._spool.waiting)
            if time.monotonic() - progress > (SLOW_PATIENCE if self.trouble is None else PATIENCE):
                self._given_up = True
                self._wake.set()
                return False
        return self.trouble is None
