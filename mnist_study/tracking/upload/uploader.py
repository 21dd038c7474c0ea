"""Uploading of runs by one thread of a process, for which nothing waits without bound."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mnist_study.tracking.outbox import Outbox
from mnist_study.tracking.store import without_passwords
from mnist_study.tracking.upload.patience import patience
from mnist_study.tracking.upload.sending import calls_left, upload

INTERVAL = 5.0  # seconds between two uploads: curves move while one watches, at no cost to the run
RETRY = 2.0  # seconds before another try
TIMEOUT = 10.0  # seconds that the end of a run waits for a store that only fails
SLOW_TIMEOUT = 60.0  # seconds without progress that it waits for one that does not

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Run:
    """A run that this process has to send."""

    folder: Path
    uri: str
    outbox: Outbox | None  # None: it is over and waits on disk
    calls: int = 0  # about how many it needs, if it waits on disk

    @property
    def goes_on(self) -> bool:
        return self.outbox is not None and not self.outbox.complete

    @property
    def calls_left(self) -> int:
        return self.calls if self.outbox is None else calls_left(self.outbox)


class Uploader:
    """Uploads the runs of a process: those that are over one after another, then what goes on.

    A run that goes on is uploaded in portions. One that is over waits on disk until its turn, so
    that a slow store costs neither time nor memory.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None  # why the last try failed
        self._runs: list[_Run] = []
        self._busy: _Run | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = self._asked = self._answered = time.monotonic()
        self._failing = 0.0  # since when all tries have failed
        self._pace = 0.0  # seconds a call, of late

    def add(self, outbox: Outbox) -> None:
        """Upload a run that has begun, until it is complete and everything has arrived."""
        with self._lock:
            self._runs.append(_Run(outbox.folder, outbox.uri, outbox))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="uploader", daemon=True)
                self._thread.start()

    def ended(self, outbox: Outbox, *, watched: bool) -> None:
        """The last record is written: upload the rest when those before it have arrived.

        Args: watched: somebody still reads `outbox`, so that it is not left to the disk.
        """
        with self._lock:
            for run in self._runs[1:]:
                if run.outbox is outbox and run is not self._busy and outbox.kept and not watched:
                    run.calls, run.outbox = calls_left(outbox), None
                    outbox.close()
        self._wake.set()

    def give_up(self, outbox: Outbox) -> None:
        """Leave a run to a later command."""
        with self._lock:
            self._runs = [run for run in self._runs if run.outbox is not outbox]
            if self._busy is None or self._busy.outbox is not outbox:
                outbox.close()

    def holds(self, folder: Path) -> bool:
        """Whether the records in `folder` are this process's to send."""
        return any(run.folder == folder for run in list(self._runs))

    def wait(self, outbox: Outbox | None = None, seconds: float | None = None) -> bool:
        """Wait until a run has arrived, or all of them, but never for nothing.

        Args: seconds: the bound; where the store is too slow to take the rest in that time, the
            wait is over at once. None: as long as the store makes progress.
        Returns: whether everything has arrived.
        """
        began = time.monotonic()
        while runs := [run for run in list(self._runs) if outbox in (None, run.outbox)]:
            now = time.monotonic()
            if self.error is not None:
                late = now - self._failing > TIMEOUT
            else:
                late = now - max(began, self._answered) > SLOW_TIMEOUT
            if seconds is not None:
                asking = now - self._asked if self._busy else 0.0
                rest = self._pace * sum(run.calls_left for run in runs)
                late = late or max(asking, now - began + rest) > seconds
            if late:
                return False
            time.sleep(0.02)
        return True

    def wait_for_search(self) -> None:
        """Wait at the end of a worker, as long as the time that it worked allows."""
        runs, elapsed = list(self._runs), time.monotonic() - self._began
        bounds = [patience(run.uri, elapsed) for run in runs]
        self.wait(seconds=min((bound for bound in bounds if bound is not None), default=None))

    def _work(self) -> None:
        """Upload until there is nothing left to do."""
        while True:
            self._wake.clear()
            # In their order, but what is over comes first.
            for run in sorted(self._runs, key=lambda run: run.goes_on):
                if not self._try(run):
                    break
            with self._lock:
                if not self._runs:
                    self._thread = None
                    return
            if self.error is None:
                self._wake.wait(INTERVAL)
            else:
                time.sleep(RETRY)

    def _try(self, run: _Run) -> bool:
        """Upload what there is of a run; whether that went well. If not, others come first."""
        with self._lock:
            self._busy, self._asked = run, time.monotonic()
        over = False
        try:
            over = self._upload(run)
            self.error = None
        except BlockingIOError:
            over = True  # another process has taken it up
        except Exception as error:  # noqa: BLE001 - whatever the store says, the training goes on
            if self.error is None:
                self._failing = time.monotonic()
                _log.info("the upload is tried again: %s", without_passwords(str(error)))
            self.error = error
        with self._lock:
            self._busy = None
            if run not in self._runs:  # given up meanwhile
                over = True
            elif over or self.error:
                self._runs.remove(run)
                self._runs += [] if over else [run]
        if over and run.outbox:
            run.outbox.close()
        return self.error is None

    def _upload(self, run: _Run) -> bool:
        """Upload what waits of a run; whether that is the end of it."""
        outbox = run.outbox or Outbox(run.folder, run.uri)
        last = outbox.complete
        try:
            if last:
                outbox.sync()
            upload(outbox, self._count)
        finally:
            if run.outbox is None:
                outbox.close()
        return last

    def _count(self, calls: int) -> None:
        """The store has answered some calls."""
        now = time.monotonic()
        if calls:
            pace = (now - self._asked) / calls
            self._pace = pace if not self._pace else (2 * self._pace + pace) / 3
            self._answered = now
        self._asked = now


UPLOADER = Uploader()
