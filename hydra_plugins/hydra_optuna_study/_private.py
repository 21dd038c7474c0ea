"""All private parts of Hydra and Optuna that the sweeper uses, so that an upgrade checks one file.

Read in hydra-core 1.3.8 and 1.4.0rc3 and in optuna 5.0.0. Each name is followed by its reason.
"""

# ruff: noqa: SLF001  # the purpose of this file

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from hydra._internal import config_loader_impl
from hydra._internal.callbacks import Callbacks
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial

NO_CALLBACKS = Callbacks()  # for the `HydraContext` of workers: the user's are for trials
JournalLock = BaseJournalFileLock  # the type of JournalFileBackend's public argument `lock_obj`
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
