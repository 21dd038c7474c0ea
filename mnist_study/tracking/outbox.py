"""A run's records on disk before anything is sent, so that no server and no kill loses them.

This is the transactional outbox pattern (microservices.io/patterns/data/transactional-outbox.html):
write locally first, and mark what a separate sender has delivered.
A run's folder gets a folder `tracking`: `records.jsonl`, one JSON object a line, written as things
happen, with the files that the lines name beside it; and `sent.json`, how much of it has arrived in
which store. Sending is idempotent, so what cannot be read of `sent.json` counts as not sent.
Where the records go is `upload`'s business.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

from mnist_study.config import ConfigError
from mnist_study.tracking.records import (
    FOLDER,
    RECORDS,
    SENT,
    Damaged,
    Record,
    is_outbox,
    open_private,
    parse_record,
    read_sent,
    store_key,
)


class Outbox:
    """The records of one run; the process that opened it holds a lock on its file.

    Records may be appended by one thread while another reads and marks them.
    """

    def __init__(self, folder: Path, uri: str | None = None) -> None:
        """Open the records in `folder`, creating them if there are none.

        Args: uri: where they are to go; by default the store that the header names.
        Raises: BlockingIOError if a running process has them open; OSError if they cannot be read;
            Damaged if their first one cannot.
        """
        self.folder = folder
        self._file = open(folder / RECORDS, "a+b", buffering=0, opener=open_private)  # noqa: SIM115 - held
        self._records: list[Record] = []
        self._damaged = 0  # lines that cannot be read: they are left out
        self._unwritten = b""  # what a full disk has not taken yet
        self._disk_full: OSError | None = None  # the last error of such a write
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
            self.uri = uri or (self.header["uri"] if self._records else "")
        except BlockingIOError:
            self._file.close()
            raise BlockingIOError("still running, its own process sends it") from None
        except BaseException:
            self._file.close()
            raise
        # The run in the store, once it is known, and how many records after the header are in it.
        self.run_id, self._sent = self._state()
        self.fresh = False  # nobody can have created the run before

    @classmethod
    def create(cls, run_folder: Path, header: Record, uri: str) -> Outbox:
        """A new outbox in `run_folder`; one that an earlier run left there is set aside.

        Args: uri: where the records are to go; the header has it without its password.
        """
        folder = run_folder / FOLDER
        if folder.exists():
            kept = {path.name for path in folder.iterdir()}  # without records: killed at the start
            if not (is_outbox(folder / RECORDS) if RECORDS in kept else kept <= {"images"}):
                rule = "must be a folder whose `tracking` is a run's records"
                raise ConfigError(f"hydra.run.dir {rule}, {folder} is something else")
            taken = len(list(run_folder.glob(f"{FOLDER}.*")))
            folder.rename(run_folder / f"{FOLDER}.{taken + 1}")
        (folder / "images").mkdir(parents=True)
        outbox = cls(folder, uri)
        outbox.fresh = True
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
    def kept(self) -> bool:
        """Whether the disk has every record."""
        return not self._unwritten

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
            if "end" in record:  # the study will say that this trial is over: a power cut must not
                os.fsync(self._file)
        except OSError as error:
            self._disk_full = error
        if written == len(self._unwritten):
            self._unwritten = b""
        else:
            self._file.truncate(end)  # never half a line

    def mark(self, run_id: str | None, arrived: int = 0) -> None:
        """Remember the MLflow run, and that `arrived` more records are in it."""
        self.run_id, self._sent = run_id, self._sent + arrived
        state = {"run_id": run_id, "sent": self._sent, "damaged": self._damaged}
        whole = self.complete and not self.waiting
        states = read_sent(self.folder) | {store_key(self.uri): state | {"whole": whole}}
        partial = self.folder / f"{SENT}.partial"
        with suppress(OSError):  # a full disk: at worst a portion is sent twice, and merged
            partial.write_text(json.dumps(states))
            partial.replace(self.folder / SENT)

    def forget(self) -> None:
        """The store has lost the run: everything is to be sent again."""
        self._sent = 0
        self.mark(None)

    def sync(self) -> None:
        """Let the files that belong to the records survive a power cut."""
        for path in [*self.folder.iterdir(), *self.folder.glob("images/*")]:
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file)

    def close(self) -> None:
        """Release the lock."""
        self._file.close()

    def _read(self) -> None:
        """Read the records; a line that a kill or a full disk has torn is cut off."""
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines()):
            record = parse_record(line, header=number == 0)
            if record is not None:
                self._records.append(record)
            elif number == 0:
                raise Damaged("the first record is damaged, this run cannot be sent")
            else:
                self._damaged += 1
        if whole < len(data):
            self._file.truncate(whole)

    def _state(self) -> tuple[str | None, int]:
        """What `sent.json` says of this store, as far as it fits the records."""
        state = read_sent(self.folder).get(store_key(self.uri), {})
        run_id, sent = state.get("run_id"), state.get("sent")
        if not isinstance(run_id, str):
            return None, 0
        # Where records were lost since, their count says nothing.
        if not isinstance(sent, int) or not 0 <= sent < len(self._records):
            sent = 0
        return run_id, sent if state.get("damaged") == self._damaged else 0
