"""The trials of a study: which of them the budget counts, and the retries of dead workers' trials.

A trial whose worker died is failed, and a *retry* with equal parameters is queued in its place. A
replaced trial is not counted. All functions that write expect the study's lock to be held.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from ._private import running_trial
from ._process import process_of


@dataclass(frozen=True)
class TrialsByState:
    """The trials of a study, without those that a retry replaced."""

    waiting: tuple[FrozenTrial, ...]
    running: tuple[FrozenTrial, ...]
    complete: tuple[FrozenTrial, ...]
    pruned: tuple[FrozenTrial, ...]
    failed: tuple[FrozenTrial, ...]
    replaced: int  # how many

    @property
    def finished(self) -> int:
        """The number that `n_trials` limits."""
        return len(self.complete) + len(self.pruned) + len(self.failed)

    @property
    def taken(self) -> int:
        """Number of finished and running trials."""
        return self.finished + len(self.running)

    def too_many_failures(self, rate: float, n_trials: int) -> bool:
        """Whether more than `rate` of the finished trials failed, from the tenth trial on."""
        return len(self.failed) > rate * max(self.finished, min(n_trials, 10))


def trials_by_state(study: optuna.Study) -> TrialsByState:
    """Read the storage; trials are not copied, so do not change them."""
    trials = study.get_trials(deepcopy=False)
    replaced = {t.user_attrs["retry_of"] for t in trials if "retry_of" in t.user_attrs}

    def kept(state: TrialState) -> tuple[FrozenTrial, ...]:
        return tuple(t for t in trials if t.state == state and t.number not in replaced)

    return TrialsByState(
        waiting=kept(TrialState.WAITING),
        running=kept(TrialState.RUNNING),
        complete=kept(TrialState.COMPLETE),
        pruned=kept(TrialState.PRUNED),
        failed=kept(TrialState.FAIL),
        replaced=len(replaced),
    )


def failure_of(trial: FrozenTrial) -> str:
    """Why a trial failed, in one line; only the heartbeat leaves none."""
    return str(trial.user_attrs.get("failure", "its worker stopped answering"))


def _worker_died(trial: FrozenTrial, dead_hosts: Collection[str], ended: Collection[int]) -> bool:
    """Whether the worker of this running trial is gone.

    A trial is claimed and signed under the lock, so an unsigned one lost its worker in between. A
    worker on another machine cannot be seen: a database server has its heartbeat, for a journal
    file the user names `dead_hosts`. `ended` are the numbers of workers that returned: their
    process may live on, and a trial that they could not finish in the storage is still running.
    """
    signature = trial.user_attrs.get("worker")
    if signature is None or signature.get("number") in ended:
        return True
    worker = process_of(signature)
    return worker.host in dead_hosts or (worker.is_here and not worker.is_alive)


def fail_stale_trials(
    study: optuna.Study,
    max_retries: int,
    dead_hosts: Collection[str] = (),
    ended: Collection[int] = (),
) -> None:
    """Fail the running trials of dead workers, and queue their retries."""
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        optuna.storages.fail_stale_trials(study)  # of other machines, by their heartbeat
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _worker_died(trial, dead_hosts, ended):
            _fail_trial(study, trial, max_retries)
    for trial in trials_by_state(study).failed:
        if "failure" not in trial.user_attrs:  # failed by the heartbeat
            queue_retry(study, trial, max_retries)


def _fail_trial(study: optuna.Study, trial: FrozenTrial, max_retries: int) -> None:
    """Queue a retry, then fail the trial: a kill in between loses nothing."""
    queued = queue_retry(study, trial, max_retries)
    tried = f", after {trial.user_attrs.get('retries', 0)} retries"
    reason = f"its worker died{'; it is tried again' if queued else tried}"
    with suppress(UpdateFinishedTrialError):  # another machine failed it first, by its heartbeat
        running_trial(study, trial).set_user_attr("failure", reason)
        study.tell(trial.number, state=TrialState.FAIL)


def queue_retry(
    study: optuna.Study, trial: FrozenTrial, max_retries: int, *, counts: bool = True
) -> bool:
    """Queue a trial with equal parameters, unless it has been retried `max_retries` times.

    `counts=False` is for interruptions that are not the trial's fault: no limit applies.
    Returns: whether a retry is queued, by this call or an earlier one.
    """
    others = study.get_trials(deepcopy=False)
    if any(other.user_attrs.get("retry_of") == trial.number for other in others):
        return True
    retries = trial.user_attrs.get("retries", 0) + counts
    if counts and retries > max_retries:
        return False
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"retry_of": trial.number, "retries": retries},
            system_attrs=trial.system_attrs,  # the grid's cell, the generation
        )
    )
    return True


def ranked(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Complete trials, best first; with several objectives by the first."""
    maximize = study.directions[0] == optuna.study.StudyDirection.MAXIMIZE
    return sorted(trials, key=lambda t: (t.values or [0.0])[0], reverse=maximize)
