"""A Hydra sweeper that runs a whole Optuna study: asynchronous workers, pruning, resume.

The names below are all that a program needs; each is imported when it is first asked for, so that
a run without a study does not import Optuna. Files whose name begins with `_` are private.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._process import cores
    from ._program import (
        FollowUp,
        StudyCallback,
        current_trial,
        defer,
        hide_password,
        hide_passwords,
        instantiate,
    )
    from ._progress import best_table
    from ._storage import StorageLocation, find_storage

__all__ = [
    "FollowUp",
    "StorageLocation",
    "StudyCallback",
    "best_table",
    "cores",
    "current_trial",
    "defer",
    "find_storage",
    "hide_password",
    "hide_passwords",
    "instantiate",
]
_FILES = {
    "StorageLocation": "_storage",
    "best_table": "_progress",
    "cores": "_process",
    "find_storage": "_storage",
}


def __getattr__(name: str) -> Any:
    """Import a public name. `dir()` does not list it: Hydra 1.3 looks at all that is listed."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES.get(name, '_program')}"), name)
