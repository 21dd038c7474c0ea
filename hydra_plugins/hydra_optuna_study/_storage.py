"""Where a study lives (a journal file, SQLite, PostgreSQL), and the lock that its workers share."""

from __future__ import annotations

import fcntl
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from ._private import JournalLock, RetryingStorage, retry
from ._process import abort

if TYPE_CHECKING:
    from sqlalchemy import Engine

HEARTBEAT_SECONDS = 5  # how often a running trial writes to a database server
GRACE_SECONDS = 30  # silence after which other machines fail the trial


@dataclass(frozen=True)
class StorageLocation:
    """Where a study is stored, as plain text, so that it can be sent to workers."""

    name: str  # an absolute path of a journal file, or a database URL

    @property
    def is_server(self) -> bool:
        """Whether several machines may share it."""
        return self.name.startswith("postgresql")

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, which has no row locks: two workers could pop one queued trial."""
        return self.name.startswith("sqlite")

    @property
    def public(self) -> str:
        """The name without a password."""
        if "://" not in self.name:
            return self.name
        from sqlalchemy import make_url

        return make_url(self.name).render_as_string(hide_password=True)

    @property
    def file(self) -> Path | None:
        """The file of a journal or SQLite study."""
        return None if self.is_server else Path(self.name.removeprefix("sqlite:///"))

    def open(self, on_stale: Callable[[optuna.Study, Any], None] | None = None) -> BaseStorage:
        """Connect; `on_stale` is called for each trial that the heartbeat fails."""
        if "://" not in self.name:
            lock = KernelLock(Path(self.name), "write", repair=True)
            return JournalStorage(JournalFileBackend(self.name, lock_obj=lock))
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):  # heartbeat
            database = RDBStorage(
                self.name,
                engine_kwargs={"pool_pre_ping": True},
                heartbeat_interval=HEARTBEAT_SECONDS if self.is_server else None,
                grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=on_stale,
            )
        return RetryingStorage(database)

    @contextmanager
    def lock(self, purpose: str = "claim") -> Iterator[None]:
        """Held by one process at a time, over all machines of the study; not reentrant.

        The kernel or the server releases it when its holder dies.
        """
        file = self.file
        if file is None:
            from sqlalchemy import text
            from sqlalchemy.exc import DBAPIError

            key = zlib.crc32(f"hydra_optuna_study {purpose}".encode())
            with retry(_engine(self.name).connect)() as connection:
                connection.execute(text(f"SELECT pg_advisory_lock({key})"))
                try:
                    yield
                finally:
                    with suppress(DBAPIError):  # a server that restarted has released it
                        connection.execute(text(f"SELECT pg_advisory_unlock({key})"))
            return
        lock = KernelLock(file, purpose)
        lock.acquire()
        try:
            yield
        finally:
            lock.release()


class KernelLock(JournalLock):
    """A lock that the kernel releases at its holder's death; Optuna's outlives it by 30 s.

    With `repair` it also removes an unterminated last line, which a full disk or a kill can leave
    in a journal: the next record would be appended to it, and the file never be read again.
    """

    def __init__(self, file: Path, purpose: str, *, repair: bool = False) -> None:
        self.file, self.repair = file, repair
        self.path = file.with_name(f".{file.name}.{purpose}")
        self.handle = -1

    def acquire(self) -> bool:
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(self.handle, fcntl.LOCK_EX)
        if self.repair:
            _remove_torn_line(self.file)
        return True

    def release(self) -> None:
        os.close(self.handle)


def _remove_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) not in (b"\n", b""):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


@lru_cache(maxsize=4)
def _engine(url: str) -> Engine:
    from sqlalchemy import create_engine

    return create_engine(url, pool_pre_ping=True, isolation_level="AUTOCOMMIT")


def find_storage(storage: str | None, folder: Path) -> StorageLocation:
    """The location that `hydra.sweeper.storage` means; null is a journal file in `folder`.

    Raises: SystemExit(2) after one sentence if it is not a storage, or cannot be reached.
    """
    if storage is None:
        return StorageLocation(str(folder / "study.journal"))
    if "://" not in storage:
        return StorageLocation(os.path.abspath(storage))
    if storage.startswith("sqlite:///"):
        return StorageLocation(f"sqlite:///{os.path.abspath(storage.removeprefix('sqlite:///'))}")
    if not storage.startswith("postgresql"):
        scheme = storage.split("://")[0]
        abort(
            "hydra.sweeper.storage: a path of a journal file, sqlite:///FILE or postgresql://... "
            f"must be given, got {scheme}://..."
        )
    location = StorageLocation(storage)
    try:
        with _engine(location.name).connect():
            pass
    except ModuleNotFoundError as error:
        hint = "pip install 'psycopg[binary]', and write postgresql+psycopg://..."
        abort(f"hydra.sweeper.storage: {error}; {hint}")
    except Exception as error:  # noqa: BLE001  # drivers raise their own classes
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        abort(f"hydra.sweeper.storage: cannot reach {location.public}: {reason}")
    return location
