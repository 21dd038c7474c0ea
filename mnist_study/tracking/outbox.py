"""A run's records on disk before anything is sent, so that no server and no kill loses them.

This is the transactional outbox pattern (microservices.io/patterns/data/transactional-outbox.html):
write locally first, and mark what a separate sender has delivered.

A run's folder gets a folder `tracking`: `records.jsonl`, one JSON object a line, written as things
happen, with the files that the lines name beside it; and `sent.json`, how much of it has arrived.
Where the records go is `uploader`'s business.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mnist_study.config import ConfigError

FOLDER = "tracking"
RECORDS = "records.jsonl"
SENT = "sent.json"

Record = Mapping[str, Any]  # one key says the kind: metrics, tags, image, artifact or end


class Outbox:
    """The records of one run; the process that opened it holds a lock on its file.

    Records may be appended by one thread while another reads and marks them.
    """

    def __init__(self, folder: Path) -> None:
        """Open the records in `folder`, creating them if there are none.

        Raises: BlockingIOError if a running process has them open; OSError if they cannot be read.
        """
        self.folder = folder
        self._file = open(folder / RECORDS, "a+b", buffering=0, opener=_private)  # noqa: SIM115 - held
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise BlockingIOError("still running, its own process sends it") from None
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # torn by a kill or a full disk
            self._file.truncate(whole)
        self._records: list[Record] = [json.loads(line) for line in data[:whole].splitlines()]
        self._unwritten = b""  # what a full disk has not taken yet
        self._disk_full: OSError | None = None  # the last error of such a write
        state = {}
        with suppress(FileNotFoundError):
            state = json.loads((folder / SENT).read_text())
        self.run_id: str | None = state.get("run_id")  # where the records go, once that is known
        self.attempted = bool(state)  # an earlier attempt may have created the run unnoticed
        self._sent: int = state.get("sent", 0)

    @classmethod
    def create(cls, run_folder: Path, header: Record) -> Outbox:
        """A new outbox in `run_folder`; one that an earlier run left there is set aside."""
        folder = run_folder / FOLDER
        if folder.exists():
            kept = {path.name for path in folder.iterdir()}  # without records: killed at the start
            if not (_is_ours(folder / RECORDS) if RECORDS in kept else kept <= {"images"}):
                rule = "must be a folder whose `tracking` is a run's records"
                raise ConfigError(f"hydra.run.dir {rule}, {folder} is something else")
            taken = len(list(run_folder.glob(f"{FOLDER}.*")))
            folder.rename(run_folder / f"{FOLDER}.{taken + 1}")
        (folder / "images").mkdir(parents=True)
        outbox = cls(folder)
        outbox.append(header)
        return outbox

    @property
    def header(self) -> Record:
        """The first record: what was known of the run before its first step."""
        return self._records[0]

    @property
    def empty(self) -> bool:
        """Whether the process died before it wrote the first record."""
        return not self._records

    @property
    def complete(self) -> bool:
        """Whether the last record is the run's end."""
        return "end" in self._records[-1]

    @property
    def waiting(self) -> list[Record]:
        """The records after the header that have not arrived yet, oldest first."""
        return self._records[1 + self._sent :]

    @property
    def lost(self) -> OSError | None:
        """The disk-full error, if it cost records that were not uploaded either."""
        return self._disk_full if self._unwritten and self.waiting else None

    def append(self, record: Record) -> None:
        """Write a record; one that a full disk does not take is kept and tried again."""
        self._unwritten += json.dumps(record, allow_nan=False).encode() + b"\n"
        self._records.append(record)
        end, written = self._file.seek(0, os.SEEK_END), 0
        try:
            written = self._file.write(self._unwritten)
        except OSError as error:
            self._disk_full = error
        if written == len(self._unwritten):
            self._unwritten = b""
        else:
            self._file.truncate(end)  # never half a line

    def mark(self, run_id: str | None, arrived: int = 0) -> None:
        """Remember the MLflow run, and that `arrived` more records are in it."""
        self.run_id, self._sent, self.attempted = run_id, self._sent + arrived, True
        state = {"run_id": run_id, "sent": self._sent}
        partial = self.folder / f"{SENT}.partial"
        with suppress(OSError):  # a full disk: at worst a portion is sent twice, and merged
            partial.write_text(json.dumps(state))
            partial.replace(self.folder / SENT)

    def close(self) -> None:
        """Release the lock."""
        self._file.close()


def find_outboxes(folder: Path) -> list[Path]:
    """The folders of records in and below `folder`: of a run, or of all runs of a study."""
    return sorted(path.parent for path in folder.rglob(RECORDS) if _is_ours(path))


def _is_ours(path: Path) -> bool:
    """Whether a file of that name begins as records do; another's is never opened for writing."""
    with path.open("rb") as file:
        head = file.readline(200)
    return path.parent.name == FOLDER and (not head or head.startswith(b'{"uri":'))


def _private(path: str, flags: int) -> int:
    """Open for nobody else to read, and through no link: the records name a server."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
