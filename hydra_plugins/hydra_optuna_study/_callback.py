"""What a program may do around a study (track it, say), and the search it may ask for after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from omegaconf import DictConfig
from optuna import Study


@dataclass(frozen=True)
class Search:
    """A further search: its study is `<study>-<suffix>`, its folder `<suffix>/` in the study's."""

    suffix: str
    params: Mapping[str, Any]  # Hydra's grammar, as in `hydra.sweeper.params`
    n_trials: int | None  # null: the whole grid
    overrides: Sequence[str] = ()  # fixed ones, on top of those of the search before
    sampler: Mapping[str, Any] | None = None
    pruner: Mapping[str, Any] | None = None
    metric: str | Sequence[str] | None = None  # null: as before
    direction: str | Sequence[str] | None = None  # null: as before


class Observer(Protocol):
    """Named by `hydra.sweeper.observer`; lives in the controller. Every method may be called again
    for the same study, by a later run or by another machine, also when the study is complete;
    `study_started` and `study_ended` by one controller at a time.
    """

    def check(self, config: DictConfig) -> None:
        """Before anything is written; refuses a mistake in `config` by SystemExit(2)."""

    def study_started(self, study: Study, config: DictConfig) -> None:
        """Before workers are launched; trials of dead workers are marked already."""

    def trials_changed(self, study: Study) -> None:
        """A trial began or ended; from the thread that watches, at most once a second."""

    def study_ended(self, study: Study, interrupted: bool) -> None:
        """No worker of this controller works any more; also after Ctrl-C and errors."""

    def next_search(self, study: Study) -> Search | None:
        """What to search next, asked when the budget is complete."""


class NoObserver:
    """Sees nothing, wants nothing."""

    def check(self, config: DictConfig) -> None:
        """Nothing."""

    def study_started(self, study: Study, config: DictConfig) -> None:
        """Nothing."""

    def trials_changed(self, study: Study) -> None:
        """Nothing."""

    def study_ended(self, study: Study, interrupted: bool) -> None:
        """Nothing."""

    def next_search(self, study: Study) -> Search | None:  # noqa: ARG002  # the protocol's
        """Nothing."""
        return None
