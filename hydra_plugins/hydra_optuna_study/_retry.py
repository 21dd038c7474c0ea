"""A database server may restart under a study: a call waits for it a while, and only then fails."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

PATIENCE_SECONDS = 120.0


class PatientStorage(RDBStorage):
    """Optuna's database storage that outlives a lost connection.

    A call whose answer was lost may be made twice. That harms nothing: values are set again, and a
    trial created in vain is unsigned, so the next reaping replaces it.
    """


def patiently(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, repeated while the server is away."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return method(*args, **kwargs)
            except Exception as error:  # of the driver's own class; all others go on
                if not _is_away(error) or time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    return call


def _is_away(error: Exception) -> bool:
    """Whether the server, and not the question, is to blame."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    return isinstance(cause, OperationalError | InterfaceError)


# What Optuna's cache, its heartbeat and its studies ask of a database.
for _name in (
    "create_new_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "_create_new_trial",
    "_get_trials",
    "_set_trial_param",
    "_get_best_trial_id",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "record_heartbeat",
    "_get_stale_trial_ids",
):
    setattr(PatientStorage, _name, patiently(getattr(RDBStorage, _name)))
