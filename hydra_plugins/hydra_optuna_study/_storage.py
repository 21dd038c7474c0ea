"""Where a study lives (a journal file, SQLite, PostgreSQL), and the lock that its workers share."""

from __future__ import annotations

import os
import sqlite3
import stat
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import optuna
from omegaconf import OmegaConf
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage

from ._private import (
    KEY,
    KernelLock,
    RetryingStorage,
    begins_as_journal,
    not_a_journal,
    open_journal,
    retry,
)
from ._process import abort, no_place
from ._program import without_passwords

if TYPE_CHECKING:
    from sqlalchemy import Engine

HEARTBEAT_SECONDS = 5  # how often a running trial writes to a database server
GRACE_SECONDS = 30  # silence after which other machines fail the trial
SQLITE = "sqlite:///"
_DATABASE = b"SQLite format 3\0"  # how an SQLite file does


@dataclass(frozen=True)
class StorageLocation:
    """Where a study is stored, as plain text, so that it can be sent to workers."""

    name: str  # an absolute path of a journal file, or an address that may refer to `${oc.env:X}`

    @property
    def url(self) -> str:
        """The name with its password; never to be printed or kept."""
        return resolved(self.name)

    @property
    def is_server(self) -> bool:
        """Whether several machines may share it."""
        return self.url.startswith("postgresql")

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, which has no row locks: two workers could pop one queued trial."""
        return self.name.startswith(SQLITE)

    @property
    def public(self) -> str:
        """The name without a password."""
        return without_passwords(self.url)

    @property
    def file(self) -> Path | None:
        """The file of a journal or SQLite study."""
        return None if self.is_server else Path(self.name.removeprefix(SQLITE))

    @property
    def has_studies(self) -> bool:
        """Whether there is something to read; nothing is created."""
        if self.file and not (self.file.exists() and self.file.stat().st_size):
            return False
        if self.file and not self.is_sqlite:
            return True
        from sqlalchemy import inspect

        return inspect(_engine(self.url)).has_table("studies")

    def open(
        self,
        on_stale: Callable[[optuna.Study, Any], None] | None = None,
        *,
        reading: bool = False,
    ) -> BaseStorage:
        """Connect.

        Args:
            on_stale: called for each trial that the heartbeat fails.
            reading: for looking only: no lock is made, no torn line removed.

        Raises: SystemExit(2) after one sentence if a journal is damaged.
        """
        if self.file and not self.is_sqlite:
            return open_journal(self.file, reading=reading)
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):  # heartbeat
            database = RDBStorage(
                self.url,
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
            with retry(_engine(self.url).connect)() as connection:
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


@lru_cache(maxsize=4)
def _engine(url: str) -> Engine:
    from sqlalchemy import create_engine

    return create_engine(url, pool_pre_ping=True, isolation_level="AUTOCOMMIT")


def resolved(text: str) -> str:
    """`text` with the environment variables that it refers to."""
    return str(OmegaConf.create({"text": text}).text)


def find_storage(storage: str | None, folder: Path, *, reading: bool = False) -> StorageLocation:
    """The location that `hydra.sweeper.storage` means; null is a journal file in `folder`.

    Nothing is created, and no existing file is accepted that is not a study's.

    Raises: SystemExit(2) after one sentence if it is not a storage, or cannot be reached.
    """
    given = str(folder / "study.journal") if storage is None else storage
    url = resolved(given)
    if "://" in url and not url.startswith(SQLITE):
        if not url.startswith("postgresql"):
            forms = "a path of a journal file, sqlite:///FILE or postgresql://..."
            _refuse(f"{forms} must be given, got {url.split('://')[0]}://...")
        return _check_server(StorageLocation(given))
    prefix = SQLITE if url.startswith(SQLITE) else ""
    name = os.path.expanduser(url.removeprefix(prefix))
    if name in ("", ":memory:"):
        _refuse(f"a file must be named, got {url!r}")
    path = Path(os.path.abspath(name))
    _check_place(path, reading=reading)
    if path.exists() and path.stat().st_size:
        (_check_database if prefix else _check_journal)(path)
    return StorageLocation(f"{prefix}{path}")


def _refuse(reason: str) -> NoReturn:
    abort(f"{KEY}: {reason}")


def _check_place(path: Path, *, reading: bool) -> None:
    """Refuse what is no file, or cannot become one."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if not reading and (problem := no_place(path)):
            _refuse(problem)
        mode = stat.S_IFREG
    except OSError as error:
        _refuse(f"{path}: {error.strerror}")
    if not stat.S_ISREG(mode):
        folder = f"a folder; name a file in it, {path / 'study.journal'} say"
        _refuse(f"{path} is {folder if stat.S_ISDIR(mode) else 'neither a file nor absent'}")
    for purpose in ("claim", "write", "callback"):
        if (lock := KernelLock(path, purpose).path).is_symlink():
            _refuse(f"{lock} is a link, which no lock may be; remove it")
    if path.exists() and not os.access(path, os.R_OK if reading else os.R_OK | os.W_OK):
        _refuse(f"no permission to read and write {path}")


def _head(path: Path) -> bytes:
    """How a file begins; only at the door, since closing it drops locks of an SQLite connection."""
    with path.open("rb") as file:
        return file.read(len(_DATABASE))


def _check_journal(path: Path) -> None:
    if _head(path) == _DATABASE:
        _refuse(f"{path} is an SQLite file; write {SQLITE}{path}")
    if not begins_as_journal(_head(path)):
        _refuse(not_a_journal(path))


def _check_database(path: Path) -> None:
    if begins_as_journal(_head(path)):
        _refuse(f"{path} is a journal; write {path} without {SQLITE}")
    if _head(path) != _DATABASE:
        _refuse(f"{path} is not an SQLite file, and stays as it is; name another file")
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    tables: set[str] = set()
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute(query)}
    except sqlite3.OperationalError:
        return  # busy
    except sqlite3.DatabaseError as error:
        _refuse(f"{path} is damaged: {error}")
    if tables and "studies" not in tables:
        _refuse(f"{path} is another program's database, and stays as it is; name another file")


def _check_server(location: StorageLocation) -> StorageLocation:
    """The location, if it answers."""
    from sqlalchemy import make_url

    form = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE must be given"
    try:
        host = make_url(location.url).host
    except Exception:  # noqa: BLE001  # its message may show the password
        _refuse(f"{form}, PORT a number, got {location.public}")
    if "@" in (host or ""):
        _refuse(f"{form}, with %40 for each @ of the password, got {location.public}")
    try:
        with _engine(location.url).connect():
            return location
    except ModuleNotFoundError as error:
        hint = "pip install 'psycopg[binary]', and write postgresql+psycopg://..."
        _refuse(f"{error}; {hint}")
    except Exception as error:  # noqa: BLE001  # drivers raise their own classes
        reason = str(getattr(error, "orig", error)).strip() or type(error).__name__
        _refuse(f"cannot reach {location.public}: {without_passwords(reason.splitlines()[0])}")
