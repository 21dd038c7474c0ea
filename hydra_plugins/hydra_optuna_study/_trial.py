"""How a task learns of its trial: a context variable, free of imports for runs without a study."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Trial

running: ContextVar[Trial | None] = ContextVar("running_trial", default=None)


def current_trial() -> Trial | None:
    """The trial whose job this is, or None outside of a study."""
    return running.get()
