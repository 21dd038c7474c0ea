"""The shared study as one worker sees it: claims within the budget, trials that stop when asked."""

from __future__ import annotations

import time
from typing import Any

import optuna
from optuna.storages import BaseStorage

from hydra_plugins.hydra_optuna_study import _interrupt
from hydra_plugins.hydra_optuna_study._config import Plan
from hydra_plugins.hydra_optuna_study._process import this_process
from hydra_plugins.hydra_optuna_study._samplers import make_pruner, make_sampler
from hydra_plugins.hydra_optuna_study._trials import tally


class NothingLeft(Exception):  # noqa: N818  # it ends a worker's day, it is no error
    """The budget is spent, too much failed, or the study is to stop: no trial can be claimed."""


class StudyTrial(optuna.Trial):
    """A trial that ends when its study is to stop, and that several objectives never prune."""

    study: WorkerStudy

    def report(self, value: float, step: int) -> None:
        """Tell the pruner of an intermediate value; nothing to tell with several objectives."""
        self.study.stop_if_asked()
        if len(self.study.directions) == 1:
            super().report(value, step)

    def should_prune(self) -> bool:
        """Whether the pruner gives this trial up."""
        self.study.stop_if_asked()
        return len(self.study.directions) == 1 and super().should_prune()


class WorkerStudy(optuna.Study):
    """A study whose `ask` hands out what the budget has left, and no more."""

    def __init__(self, plan: Plan, storage: BaseStorage, seed: int, worker: int) -> None:
        sampler = make_sampler(plan.sampler, plan.space, seed, worker)
        super().__init__(plan.study_name, storage, sampler, make_pruner(plan.pruner))
        self.plan, self.worker = plan, worker
        self.looked = float("-inf")  # when the storage was last asked whether to stop

    def ask(self, fixed_distributions: dict[str, Any] | None = None) -> optuna.Trial:
        """Claim a queued trial, or else a new one, and sign it.

        One claim at a time over all workers of the study, so that the total is exact.
        Raises: NothingLeft.
        """
        assert not fixed_distributions, "the space is sampled by the objective"
        plan = self.plan
        self.looked = float("-inf")
        if self.is_stopping() or self.is_orphan():
            raise NothingLeft
        with plan.place.lock():
            books = tally(self)
            if books.taken >= plan.n_trials:
                raise NothingLeft
            if books.too_many_failures(plan.max_failure_rate, plan.n_trials):
                raise NothingLeft
            self._thread_local.cached_all_trials = None  # look afresh, as Study.ask does
            trial_id = self._pop_waiting_trial_id()
            if trial_id is None:
                trial_id = self._storage.create_new_trial(self._study_id)
            signature = {**this_process().attrs(), "number": self.worker}
            self._storage.set_trial_user_attr(trial_id, "worker", signature)
            return StudyTrial(self, trial_id)  # a grid chooses its cell here, so under the lock too

    def is_stopping(self) -> bool:
        """Whether Ctrl-C reached this process or its controller, whom it asks once a second."""
        if not _interrupt.asked.is_set() and time.monotonic() - self.looked > 1:
            self.looked = time.monotonic()
            if self.plan.stop_key in self._storage.get_study_user_attrs(self._study_id):
                _interrupt.asked.set()
        return _interrupt.asked.is_set()

    def stop_if_asked(self) -> None:
        """Raises: Stopped."""
        if self.is_stopping():
            raise _interrupt.Stopped

    def is_orphan(self) -> bool:
        """Whether the controller was killed; its workers on this machine end after their trial."""
        return self.plan.controller.is_here and not self.plan.controller.is_alive
