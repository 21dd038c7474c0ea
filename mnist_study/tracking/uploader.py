"""Uploading of a run's records, by a thread that never makes the training wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from mnist_study.tracking.client import Client, connect, create_run, log_points, log_to_run
from mnist_study.tracking.outbox import Outbox, Record
from mnist_study.tracking.store import with_password, without_passwords

INTERVAL = 5.0  # seconds between two uploads: curves move while one watches, at no cost to the run
RETRY = 2.0  # seconds before another try
TIMEOUT = 10.0  # seconds without progress that the end of a run waits for a store that fails
SLOW_TIMEOUT = 60.0  # the same while nothing has failed: an import, a new database, a busy machine

_log = logging.getLogger(__name__)


class Uploader(threading.Thread):
    """Uploads the records of one outbox, some every few seconds, the rest at the end."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(name=f"uploader of {outbox.folder}", daemon=True)
        self._outbox = outbox
        self._over, self._given_up = threading.Event(), threading.Event()
        self.error: Exception | None = None  # why the last try failed

    def run(self) -> None:
        """Upload until the run is over and everything has arrived."""
        while not self._given_up.is_set():
            last = self._over.is_set()
            try:
                upload(self._outbox)
                self.error = None
            except Exception as error:  # noqa: BLE001 - whatever the store says, the training goes on
                if self.error is None:
                    _log.info("the upload is tried again: %s", without_passwords(str(error)))
                self.error = error
            if last and self.error is None:
                break
            until = self._given_up if last else self._over
            until.wait(INTERVAL if self.error is None else RETRY)
        self._outbox.close()

    def end(self) -> None:
        """The last record is written: upload the rest now."""
        self._over.set()

    def finish(self) -> None:
        """Wait until the rest is uploaded; warn if it cannot be, after a bounded time."""
        progress, left = time.monotonic(), len(self._outbox.waiting)
        while self.is_alive() and not self._given_up.is_set():
            self.join(0.05)
            if len(self._outbox.waiting) != left:
                progress, left = time.monotonic(), len(self._outbox.waiting)
            if time.monotonic() - progress > (SLOW_TIMEOUT if self.error is None else TIMEOUT):
                self._given_up.set()
                _log.warning(
                    "MLflow has not received all of this run (%s); "
                    "send it later with: python -m mnist_study.tracking send %s",
                    without_passwords(str(self.error or "") or "no answer").splitlines()[0],
                    self._outbox.folder.parent,
                )


def upload(outbox: Outbox, uri: str | None = None) -> None:
    """Upload everything that waits in `outbox`, and mark what has arrived.

    Uploading twice is harmless: a run is found by its token, MLflow merges equal points of a
    metric, and files have fixed names.

    Raises: what MLflow raises if it cannot; what had arrived by then is marked.
    """
    uri = uri or with_password(outbox.header["uri"])
    client = connect(uri)
    run_id = outbox.run_id
    if run_id is None:
        again = outbox.attempted
        outbox.mark(None)
        run_id = create_run(uri, outbox.header, again)
        outbox.mark(run_id)
    for kind, group in groupby(outbox.waiting, key=lambda record: next(iter(record))):
        records = list(group)
        _upload_kind(client, run_id, kind, records, outbox.folder)
        outbox.mark(run_id, arrived=len(records))


def _upload_kind(
    client: Client, run_id: str, kind: str, records: Sequence[Record], folder: Path
) -> None:
    """Upload records of one kind."""
    if kind == "metrics":
        log_points(client, run_id, records)
        return
    for record in records:
        if kind == "tags":
            log_to_run(client, run_id, tags=record["tags"])
        elif kind == "end":
            client.set_terminated(run_id, record["end"], record["time"])
        elif kind == "artifact":
            _upload_file(client, run_id, folder / record["artifact"], None)
        else:
            for name in record["files"]:
                _upload_file(client, run_id, folder / name, "images")
                (folder / name).unlink(missing_ok=True)  # many and large; they are in the store now


def _upload_file(client: Client, run_id: str, path: Path, folder: str | None) -> None:
    if path.exists():  # else it has arrived before, or a full disk did not take it
        client.log_artifact(run_id, str(path), folder)
