"""The shared study as one worker sees it: trials within the budget, stop requests, results."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage

from ._config import SweepConfig
from ._private import claim_trial
from ._process import Stopped, stop_requested, this_process
from ._samplers import make_pruner, make_sampler
from ._trials import hopeless, queue_retry, trials_by_state

LINE = 500  # characters of a reason that the storage keeps; failure.txt has all


class BudgetExhausted(Exception):  # noqa: N818  # it ends a worker's loop and is no error
    """No trial may start: budget spent, too many failures, or a stop was requested."""


class TrialFailed(Exception):  # noqa: N818  # its message is the whole reason
    """The task returned, but not what the study needs."""


class Mistake(TrialFailed):
    """The command itself is wrong: where no trial has succeeded yet, none will."""


class LeftAlone(BaseException):  # no Exception: Optuna would fail the trial
    """The worker leaves its trial as it is in the storage.

    Args: the error for which it stays running, so that a later controller queues it again; none
        where another process has failed it, taking this worker for dead.
    """


class WorkerTrial(optuna.Trial):
    """A trial that ends when its study is to stop, and is never pruned with several objectives."""

    study: WorkerStudy

    def report(self, value: float, step: int) -> None:
        self.study.raise_if_stopping()
        if len(self.study.directions) == 1:
            super().report(value, step)

    def should_prune(self) -> bool:
        self.study.raise_if_stopping()
        return len(self.study.directions) == 1 and super().should_prune()


class WorkerStudy(optuna.Study):
    """A study whose `ask` stays within the budget of all workers together."""

    def __init__(self, sweep: SweepConfig, storage: BaseStorage, seed: int, worker: int) -> None:
        sampler = make_sampler(sweep.sampler, sweep.space, seed, worker)
        super().__init__(sweep.study_name, storage, sampler, make_pruner(sweep.pruner))
        self.sweep, self.worker = sweep, worker
        self.checked = -math.inf  # when the storage was last asked whether to stop

    def ask(self, fixed_distributions: dict[str, Any] | None = None) -> optuna.Trial:
        """Start a queued trial, or else a new one.

        One worker of the study at a time counts, claims and signs, so that the total is exact.
        Raises: BudgetExhausted.
        """
        assert not fixed_distributions, "the objective samples the space"
        sweep = self.sweep
        self.checked = -math.inf
        if self.is_stopping() or self.controller_died():
            raise BudgetExhausted
        with sweep.storage.lock():
            trials = trials_by_state(self)
            failing = trials.too_many_failures(sweep.max_failure_rate, sweep.n_trials)
            if failing or trials.taken >= sweep.n_trials or hopeless(trials):
                raise BudgetExhausted
            signature = {"number": self.worker, "controller": sweep.controller.attrs()}
            trial_id = claim_trial(self, this_process().attrs() | signature)
            return WorkerTrial(self, trial_id)  # a grid sampler picks its point here: under lock

    def is_stopping(self) -> bool:
        """Whether this process or its controller got Ctrl-C; reads the storage once a second."""
        if not stop_requested.is_set() and time.monotonic() - self.checked > 1:
            self.checked = time.monotonic()
            if self.sweep.stop_key in self.user_attrs:
                stop_requested.set()
        return stop_requested.is_set()

    def raise_if_stopping(self) -> None:
        if self.is_stopping():
            raise Stopped

    def controller_died(self) -> bool:
        """Whether the controller was killed; its workers on this machine then finish and exit."""
        return self.sweep.controller.is_here and not self.sweep.controller.is_alive

    def workers_here(self) -> int:
        """Number of workers on this machine, this one included."""
        if self.sweep.controller.is_here:
            return self.sweep.workers
        trials = trials_by_state(self).running
        hosts = [trial.user_attrs.get("worker", {}).get("host") for trial in trials]
        return max(1, hosts.count(this_process().host))

    def requeue(self, trial: optuna.Trial, reason: str) -> None:
        """Queue a trial again that did not fail by itself; `max_retries` does not count this.

        Raises: LeftAlone if the storage does not take that, its own disk being full, say.
        """
        try:
            with self.sweep.storage.lock():
                queue_retry(self, self.get_trials(deepcopy=False)[trial.number])
            trial.set_user_attr("failure", reason)
        except UpdateFinishedTrialError:
            raise
        except Exception as error:  # a full disk comes as each driver's own class
            raise LeftAlone(error) from error


def objective_values(sweep: SweepConfig, returned: Any) -> float | list[float]:
    """The values of the study's objectives in what the task returned.

    Raises: TrialFailed if one is not finite; Mistake if the task does not return such numbers.
    """
    items = _items(sweep, returned)
    n = len(sweep.directions)
    if len(items) != n:
        raise Mistake(f"the task must return {n} numbers, got {len(items)}")
    try:
        values = [float(item) for item in items]
    except (TypeError, ValueError):
        raise Mistake(f"the task must return numbers, got {returned!r}") from None
    for name, value in zip(sweep.metrics or ["value"] * n, values, strict=True):
        if not math.isfinite(value):
            raise TrialFailed(f"{name} is {value}")
    return values if n > 1 else values[0]


def _items(sweep: SweepConfig, returned: Any) -> list[Any]:
    if isinstance(returned, Mapping):
        if not sweep.metrics:
            raise Mistake(f"hydra.sweeper.metric must name one of {', '.join(returned)}")
        for metric in sweep.metrics:
            if metric not in returned:
                raise Mistake(f"hydra.sweeper.metric: no {metric} in {', '.join(returned)}")
        return [returned[metric] for metric in sweep.metrics]
    return list(returned) if isinstance(returned, list | tuple) else [returned]


def record_failure(trial: optuna.Trial, error: Exception, folder: Path) -> None:
    """One line in the study; the traceback in `failure.txt` in the trial's folder."""
    with suppress(OSError):  # perhaps a full disk is the failure itself; the study has the line
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failure.txt").write_text("".join(traceback.format_exception(error)))
    if isinstance(error, Mistake):
        trial.set_user_attr("mistake", True)
    name = "" if isinstance(error, TrialFailed) else f"{type(error).__name__}: "
    line = name + " ".join(str(error).split())
    trial.set_user_attr("failure", line if len(line) <= LINE else f"{line[: LINE - 3]}...")
