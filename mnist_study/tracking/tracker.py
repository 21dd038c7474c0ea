"""Tracking of one run: a generator that records events and passes them on."""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from mnist_study.config import TrackingConfig
from mnist_study.nn.training import Event
from mnist_study.tracking.client import experiment_id
from mnist_study.tracking.describe import Status, ending, ending_tags
from mnist_study.tracking.recorder import Recorder, RunRecord
from mnist_study.tracking.store import (
    check_store,
    database_path,
    how_to_open,
    store_uri,
    without_passwords,
)
from mnist_study.tracking.upload import UPLOADER, send_command
from mnist_study.tracking.upload.patience import BOUNDS

Defer = Callable[[Callable[[], None]], None]  # takes a function that waits, to be called later
_log = logging.getLogger(__name__)
_check_once = functools.cache(check_store)  # a server that is away costs a second


class Tracker:
    """A run that is not tracked (`tracking=none`): every method is a no-op."""

    @property
    def run_id(self) -> str | None:
        """The run's id in the store, once it is known."""
        return None

    @property
    def lost(self) -> OSError | None:
        """The disk-full error that cost an ended run some of its records, if there was one."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the run, with the status that the exception stands for."""

    def follow(self, events: Iterable[Event]) -> Iterator[Event]:
        """Record each event, then pass it on."""
        yield from events

    def end(self, status: Status, reason: str | None = None, state: str | None = None) -> None:
        """End the run with an explicit status instead of the one derived from the exception."""

    def hint(self) -> str:
        """How to look at the run, in one line."""
        return "not tracked (tracking=none)"


class RunTracker(Tracker):
    """Records a run in its folder while a thread uploads the records to MLflow."""

    def __init__(self, recorder: Recorder, defer: Defer | None = None) -> None:
        """Args: defer: see `open_tracker`."""
        self._recorder, self._outbox, self._defer = recorder, recorder.outbox, defer
        self._warned = False
        self._disk_full: OSError | None = None

    @property
    def run_id(self) -> str | None:
        return self._outbox.run_id

    @property
    def lost(self) -> OSError | None:
        return self._disk_full or self._outbox.lost

    def __enter__(self) -> Self:
        UPLOADER.add(self._outbox)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.end(*ending(error))

    def follow(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            self._safely(lambda: self._recorder.write(event))  # noqa: B023 - called at once
            yield event

    def end(self, status: Status, reason: str | None = None, state: str | None = None) -> None:
        if self._outbox.complete:
            return
        self._safely(self._recorder.draw)
        self._safely(lambda: self._recorder.end(status, ending_tags(status, reason, state)))
        UPLOADER.ended(self._outbox, watched=self._defer is None)
        if self._defer:
            self._defer(UPLOADER.wait_for_search)
        else:
            self._wait()

    def _wait(self) -> None:
        """Wait until the run has arrived; say what to do if it does not in time."""
        longest = None if database_path(self._outbox.uri) else BOUNDS[1]
        if not UPLOADER.wait(self._outbox, longest):
            why = (str(UPLOADER.error or "") or "no answer in time").splitlines()[0]
            text = "MLflow has not received all of this run (%s); send it later with: %s"
            _log.warning(text, without_passwords(why), send_command(self._outbox.folder.parent))
            UPLOADER.give_up(self._outbox)

    def hint(self) -> str:
        if self.run_id is None or self._outbox.waiting:
            return f"the run is in {self._outbox.folder.parent}, and not all of it is in MLflow"
        uri, name = self._outbox.uri, self._outbox.header["experiment"]
        return how_to_open(uri, experiment_id(uri, name), self.run_id)

    def _safely(self, write: Callable[[], None]) -> None:
        """A full disk or a bug in a figure must not cost the training."""
        try:
            write()
        except Exception as error:  # noqa: BLE001 - see above
            if not self._warned:
                _log.warning("part of this run is not recorded: %s", error)
            self._warned = True
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                self._disk_full = error


def open_tracker(
    settings: TrackingConfig, record: RunRecord, defer: Defer | None = None
) -> Tracker:
    """A tracker for one run, used as a context manager; its first records are written.

    Args: defer: is given a function that waits for the last records to be uploaded, a bounded
        time, so that the end of the run need not wait.
    Raises: ConfigError if the store can never be written.
    """
    if settings.backend == "none":
        return Tracker()
    uri = store_uri(settings.uri)
    _check_once(uri)
    return RunTracker(Recorder(record, settings, uri), defer)
