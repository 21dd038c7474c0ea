"""All private parts of Hydra and Optuna that the sweeper uses, so that an upgrade checks one file;
and the journal file, whose repair depends on how Optuna reads and writes it.

Read in hydra-core 1.3.8 and 1.4.0rc3 and in optuna 5.0.0. Each name is followed by its reason.
"""

# ruff: noqa: SLF001  # the purpose of this file

from __future__ import annotations

import fcntl
import functools
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import optuna
from hydra._internal import config_loader_impl
from hydra._internal.callbacks import Callbacks
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file
from optuna.trial import FrozenTrial

from ._process import abort, is_disk_full

NO_CALLBACKS = Callbacks()  # for the `HydraContext` of workers: the user's are for trials
KEY = "hydra.sweeper.storage"
_JOURNAL = b'{"op_code":'  # how a journal begins
RETRY_SECONDS = 120.0  # how long a call waits for a database server that is away


def apply_overrides(overrides: Sequence[Override], config: DictConfig) -> None:
    """`ConfigLoaderImpl._apply_overrides_to_config`: value overrides without a full composition."""
    config_loader_impl.ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)


def override_dirname(overrides: Sequence[Override], config: DictConfig) -> str | None:
    """`get_overrides_dirname`: Hydra 1.3 stores `hydra.job.override_dirname`; None on 1.4.

    There an interpolation computes it, and the function is gone.
    """
    function = getattr(config_loader_impl, "get_overrides_dirname", None)
    if function is None:
        return None
    options = config.hydra.job.config.override_dirname
    name: str = function(
        overrides=[o for o in overrides if not o.is_hydra_override()],
        kv_sep=options.kv_sep,
        item_sep=options.item_sep,
        exclude_keys=options.exclude_keys,
    )
    return name


def claim_trial(study: optuna.Study, signature: dict[str, Any]) -> int:
    """The body of `Study.ask`, but signed before the sampler is asked: the id of a running trial.

    `_thread_local`: its cached trials must be dropped before each trial. `_pop_waiting_trial_id`:
    the only way to start a queued trial. `_storage`, `_study_id`: create and sign the trial.
    """
    study._thread_local.cached_all_trials = None
    trial_id = study._pop_waiting_trial_id()
    if trial_id is None:
        trial_id = study._storage.create_new_trial(study._study_id)
    study._storage.set_trial_user_attr(trial_id, "worker", signature)
    return trial_id


def running_trial(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """`_trial_id`: the only way from another process's running trial to its attributes."""
    return optuna.Trial(study, trial._trial_id)


def retry(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, repeated for up to `RETRY_SECONDS` while the server is away."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                return method(*args, **kwargs)
            except Exception as error:  # raised again unless the connection is lost
                if not _is_away(error) or time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    return call


def _is_away(error: Exception) -> bool:
    """Whether the server cannot be reached, as opposed to a call that it rejects."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    return isinstance(cause, OperationalError | InterfaceError)


class RetryingStorage(_CachedStorage):
    """Optuna's database storage that outlives a lost connection.

    `_CachedStorage`: what Optuna wraps a database in. Of the methods that are not abstract two read
    the database as well.
    A call whose answer was lost may be made twice. This is harmless: values are set again, and a
    trial created in vain is unsigned, so that it is soon failed and queued again.
    """


_CONCRETE = {"get_best_trial", "get_trial_id_from_study_id_trial_number"}
for _name in BaseStorage.__abstractmethods__ | BaseHeartbeat.__abstractmethods__ | _CONCRETE:
    setattr(RetryingStorage, _name, retry(getattr(_CachedStorage, _name)))


class KernelLock(BaseJournalFileLock):
    """A lock that the kernel releases at its holder's death; Optuna's outlives it by 30 s.

    With `repair` it also removes an unterminated last line, which a full disk or a kill can leave
    in a journal: the next record would be appended to it, and the file never be read again.
    """

    def __init__(self, file: Path, purpose: str, *, repair: bool = False) -> None:
        self.file, self.repair = file, repair
        self.path = file.with_name(f".{file.name}.{purpose}")
        self.handle = -1

    def acquire(self) -> bool:
        try:  # nothing is written to the lock, whoever's file it is, and no link is followed
            self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if is_disk_full(error):
                raise
            abort(f"{KEY}: no lock {self.path}: {error.strerror}")
        fcntl.flock(self.handle, fcntl.LOCK_EX)
        if self.repair:
            try:
                _remove_torn_line(self.file)
            except BaseException:  # SystemExit too must not leave others waiting
                self.release()
                raise
        return True

    def release(self) -> None:
        os.close(self.handle)


def begins_as_journal(head: bytes) -> bool:
    """Whether a file that begins so is a journal, or the little that a kill left of a new one."""
    return head.startswith(_JOURNAL) or _JOURNAL.startswith(head)


def _remove_torn_line(path: Path) -> None:
    """Raises: SystemExit(2), with the file as it was, unless it is empty or begins as a journal."""
    with path.open("rb+") as file:
        if not begins_as_journal(file.read(len(_JOURNAL))):
            abort(f"{KEY}: {not_a_journal(path)}")
        file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
        if file.read(1) not in (b"\n", b""):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


class _Journal(JournalFileBackend):
    """Knows which line it reads, so that a damaged one can be named."""

    line = 1

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        self.line = log_number_from + 1
        for log in super().read_logs(log_number_from):
            yield log
            self.line += 1


def open_journal(path: Path, *, reading: bool) -> BaseStorage:
    backend = _Journal(str(path), KernelLock(path, "write", repair=True))
    with nullcontext() if reading else get_lock_file(backend._lock):
        try:
            storage = JournalStorage(backend)
            # Optuna skips a last line that it cannot read, and fails when another follows
            damaged = not reading and path.read_bytes().count(b"\n") >= backend.line
        except OSError:
            raise
        except Exception:  # noqa: BLE001  # whatever a wrong record leads to
            damaged = True
    if damaged:
        good, file = backend.line - 1, shlex.quote(str(path))
        way = f"cp {file} {file}.damaged && head -n {good} {file}.damaged > {file}"
        abort(
            f"{KEY}: line {backend.line} of {path} is damaged, and later lines build on it; "
            f"to go on from the {good} before it: {way}"
        )
    return storage


def not_a_journal(path: Path) -> str:
    return f"{path} is not a journal of Optuna, and stays as it is; name another file"
