"""The address of the tracking store: made absolute, and refused early where it cannot work."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from mnist_study.config import ConfigError

_SQLITE = "sqlite:///"
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # of the databases that MLflow takes
_log = logging.getLogger(__name__)


def store_uri(uri: str | None) -> str:
    """`uri`, or $MLFLOW_TRACKING_URI, or mlflow.db in the working directory; absolute."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    path = database_path(uri)
    return uri if path is None else f"{_SQLITE}{path}"


def without_passwords(text: str) -> str:
    """Blank the password of every address in `text`."""
    return re.sub(r"(://[^:/@\s]*):[^/@\s]+@", r"\1:***@", text)


def database_path(uri: str) -> Path | None:
    """The file of a SQLite address, absolute; None for any other."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def check_store(uri: str) -> None:
    """Validate the address; nothing is created and MLflow is not needed.

    A server that does not answer is only warned of: it may be starting, and records can wait.

    Raises: ConfigError if the store can never be written.
    """
    shown = without_passwords(uri)
    scheme = uri.partition("://")[0].partition("+")[0]
    if scheme == "sqlite":
        _check_database(uri)
    elif scheme in ("http", "https"):
        _check_server(uri)
    elif scheme in _PORTS and "://" in uri:
        _check_database_server(uri)
    else:
        forms = "sqlite:///FILE, http(s)://SERVER or postgresql://..."
        raise ConfigError(
            f"tracking.uri must be {forms} (MLflow takes no folders any more), got {shown}"
        )


def _check_database(uri: str) -> None:
    path, rule = database_path(uri), "tracking.uri must"
    if path is None or path.name in ("", ":memory:"):
        raise ConfigError(f"{rule} name a file, sqlite:///FILE, got {uri}")
    if not path.parent.is_dir():
        raise ConfigError(f"{rule} lie in a folder that exists, got {uri}: no folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"{rule} name a file, got {uri}, a folder")
    for place in (path.parent, path):  # SQLite writes its own journal beside the database
        if place.exists() and not os.access(place, os.W_OK):
            raise ConfigError(f"{rule} be writable, got {uri}: no permission to write {place}")
    if path.exists() and not _is_database(path):
        raise ConfigError(f"{rule} name an SQLite database, {path} is another kind of file")


def _is_database(path: Path) -> bool:
    """Whether SQLite can read the file, asked of SQLite itself; an empty one it can.

    To open and close the file here would take away the locks of every connection that this process
    has to it, in the middle of another thread's transaction, and two processes that write at once
    destroy the database (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    import sqlite3

    address = f"{path.as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=0)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:  # one that is busy just now is one, too
        return error.sqlite_errorcode != sqlite3.SQLITE_NOTADB
    return True


def _check_server(uri: str) -> None:
    shown = without_passwords(uri)
    rule = f"tracking.uri must be http(s)://HOST[:PORT], got {shown}"
    try:
        address = urlsplit(uri)
        port = address.port or (443 if address.scheme == "https" else 80)
    except ValueError as error:
        raise ConfigError(f"{rule}: {error}") from None
    if not address.hostname:
        raise ConfigError(rule)
    _check_host(address.hostname, port, shown, rule)


def _check_database_server(uri: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    shown = without_passwords(uri)
    rule = f"tracking.uri must be {uri.partition(':')[0]}://USER@HOST[:PORT]/DATABASE, got {shown}"
    try:
        url = make_url(uri)
        url.get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        hint = "pip install 'mnist-study[postgres]', then postgresql+psycopg://..."
        raise ConfigError(f"tracking.uri: {shown} needs package {error.name}; or {hint}") from None
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise ConfigError(rule) from None
    if not url.database:
        raise ConfigError(rule)
    if url.host:  # else a socket of this machine
        port = url.port or _PORTS[url.get_backend_name()]
        _check_host(url.host, port, shown, rule)


def _check_host(host: str, port: int, shown: str, rule: str) -> None:
    """Refuse what can be no name of a host; warn of a host that does not answer now."""
    if not re.fullmatch(r"[\w.:%-]+", host):
        raise ConfigError(rule)
    try:
        socket.create_connection((host, port), timeout=1).close()
    except (OSError, UnicodeError) as error:
        text = "%s does not answer (%s): the run starts, and is kept in its folder until it does"
        _log.warning(text, shown, getattr(error, "strerror", None) or error)


@contextmanager
def first_use(uri: str) -> Iterator[None]:
    """One process at a time may create the database and an experiment in it.

    MLflow's own creation of tables breaks when two processes start at once. A server needs no lock.
    """
    path = database_path(uri)
    if path is None:
        yield
        return
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def how_to_open(uri: str, experiment: str | None, run_id: str | None) -> str:
    """How a person sees the run: the command where one is needed, and the page."""
    path = database_path(uri)
    # without `workflowType` MLflow opens its pages for language models
    run = f"/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
    page = run if run_id else ""
    if uri.startswith("http"):
        return f"open {without_passwords(uri).rstrip('/')}{page}"
    command = "mlflow ui"
    with suppress(OSError):  # a working directory that is gone
        if path != Path.cwd() / "mlflow.db":
            command += f" --backend-store-uri {without_passwords(uri)}"
    return f"{command}   then open http://127.0.0.1:5000{page}"
