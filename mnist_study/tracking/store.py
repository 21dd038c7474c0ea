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
_given: dict[str, str] = {}  # in this process: address without its password -> with it


def store_uri(uri: str | None, start: Path = Path()) -> str:
    """`uri`, or $MLFLOW_TRACKING_URI, or mlflow.db; a relative path begins in `start`, here."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    path = database_path(uri, start)
    uri = uri if path is None else f"{_SQLITE}{path}"
    _given[without_passwords(uri)] = uri
    return uri


def with_password(shown: str) -> str:
    """The address that was written down as `shown`, from this process or $MLFLOW_TRACKING_URI.

    Raises: ConfigError if nobody has said the password.
    """
    store_uri(None)
    uri = _given.get(shown, shown)
    if "***" in uri:
        rule = "must be given again, since its password is never written down"
        raise ConfigError(f"tracking.uri={shown} {rule}: as URI, or in $MLFLOW_TRACKING_URI")
    return uri


def without_passwords(text: str) -> str:
    """Blank the password of every address in `text`, up to the last @: people forget %40."""
    text = re.sub(r"""(://[^:/\s'"]*):(?:(?!,\w+://)[^\s'"])+@""", r"\1:***@", text)
    return re.sub(r"""([?&]password=)[^&\s'"]+""", r"\1***", text)


def database_path(uri: str, start: Path = Path()) -> Path | None:
    """The file of a SQLite address, absolute; None for any other."""
    if not uri.startswith(_SQLITE):
        return None
    return (start / os.path.expanduser(uri.removeprefix(_SQLITE))).absolute()


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
    for file in (path, partial_of(path)):
        if (problem := _problem_of(file)) and (file.exists() or file.is_symlink()):
            raise ConfigError(f"{rule} name an SQLite database of MLflow, {file} is {problem}")
    if lock_of(path).is_symlink():
        raise ConfigError(f"{rule} have a lock that is no link, got {uri}: remove {lock_of(path)}")


def partial_of(path: Path) -> Path:
    """Where a new database is made before it gets its name."""
    return path.with_name(f"{path.name}.partial")


def lock_of(path: Path) -> Path:
    """The lock of a database."""
    return path.with_name(f"{path.name}.lock")


def _problem_of(path: Path) -> str | None:
    """Why a file is not MLflow's, asked of SQLite itself; None for its own, and an empty one.

    To open and close the file here would take away the locks of every connection that this process
    has to it, in the middle of another thread's transaction, and two processes that write at once
    destroy the database (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    import sqlite3

    address = f"{path.as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=0)) as connection:
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {name for (name,) in connection.execute(query)}
    except sqlite3.DatabaseError as error:  # one that is busy just now is one, too
        other = error.sqlite_errorcode == sqlite3.SQLITE_NOTADB
        return "another kind of file" if other else None
    ours = (
        tables & {"experiments", "alembic_version"} and "studies" not in tables
    )  # Optuna has those
    return "another program's database" if tables and not ours else None


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
    # whoever's file it is, nothing is written to it, and no link is followed
    lock = os.open(lock_of(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


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
