"""The books of a study: which trials count towards its budget, and what becomes of a dead worker's.

A trial whose worker died is marked failed, and a *retry* with the same parameters takes its place;
a replaced trial counts no more. All functions that write expect the study's lock to be held.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from hydra_plugins.hydra_optuna_study._process import process_of

SILENT = "its worker stopped answering"  # the reason of a trial that the heartbeat gave up


@dataclass(frozen=True)
class Tally:
    """A study's trials by state, without those that a retry replaced."""

    waiting: tuple[FrozenTrial, ...]
    running: tuple[FrozenTrial, ...]
    complete: tuple[FrozenTrial, ...]
    pruned: tuple[FrozenTrial, ...]
    failed: tuple[FrozenTrial, ...]
    replaced: int

    @property
    def finished(self) -> int:
        """What `n_trials` counts."""
        return len(self.complete) + len(self.pruned) + len(self.failed)

    @property
    def taken(self) -> int:
        """Finished or being worked on."""
        return self.finished + len(self.running)

    def too_many_failures(self, rate: float, n_trials: int) -> bool:
        """Whether more than `rate` of the finished trials failed, judged from the tenth on."""
        return len(self.failed) > rate * max(self.finished, min(n_trials, 10))


def tally(study: optuna.Study) -> Tally:
    """Read the books; no trial is copied."""
    trials = study.get_trials(deepcopy=False)
    replaced = {t.user_attrs["retry_of"] for t in trials if "retry_of" in t.user_attrs}
    kept: dict[TrialState, list[FrozenTrial]] = {state: [] for state in TrialState}
    for trial in trials:
        if trial.number not in replaced:
            kept[trial.state].append(trial)
    return Tally(
        waiting=tuple(kept[TrialState.WAITING]),
        running=tuple(kept[TrialState.RUNNING]),
        complete=tuple(kept[TrialState.COMPLETE]),
        pruned=tuple(kept[TrialState.PRUNED]),
        failed=tuple(kept[TrialState.FAIL]),
        replaced=len(replaced),
    )


def failure_of(trial: FrozenTrial) -> str:
    """Why a trial failed, in one line."""
    return str(trial.user_attrs.get("failure", SILENT))


def worker_died(
    trial: FrozenTrial, dead_hosts: Collection[str] = (), ended: Collection[int] = ()
) -> bool:
    """Whether nobody works on this running trial any more.

    A trial is claimed and signed under the lock, so an unsigned one lost its worker in between.
    A worker on another machine cannot be seen: on a database server its heartbeat tells, on a
    journal file the user says which machines are gone. A worker that has `ended` by its number may
    have left a process behind, and a trial that it could not tell of: the storage failed it.
    """
    signature = trial.user_attrs.get("worker")
    if signature is None or signature.get("number") in ended:
        return True
    worker = process_of(signature)
    return worker.host in dead_hosts or (worker.is_here and not worker.is_alive)


def reap(
    study: optuna.Study,
    max_retries: int,
    dead_hosts: Collection[str] = (),
    ended: Collection[int] = (),
) -> None:
    """Fail the running trials of dead workers, and queue what is to be tried again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)  # of workers elsewhere, by their heartbeat
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if worker_died(trial, dead_hosts, ended):
            retire(study, trial, "its worker died", max_retries)
    for trial in tally(study).failed:
        if "failure" not in trial.user_attrs:  # failed by the heartbeat
            queue_retry(study, trial, max_retries)


def retire(study: optuna.Study, trial: FrozenTrial, reason: str, max_retries: int) -> None:
    """Fail a running trial; its retry is queued first, so that a kill in between loses nothing."""
    again = queue_retry(study, trial, max_retries)
    tried = f", after {trial.user_attrs.get('retries', 0)} retries"
    try:
        running = optuna.Trial(study, trial._trial_id)  # noqa: SLF001  # the way to a running trial
        running.set_user_attr("failure", f"{reason}{'; it is tried again' if again else tried}")
        study.tell(trial.number, state=TrialState.FAIL)
    except UpdateFinishedTrialError:
        pass  # the heartbeat was faster


def queue_retry(
    study: optuna.Study, trial: FrozenTrial, max_retries: int, *, counts: bool = True
) -> bool:
    """Queue a trial with the same parameters, unless its chain is as long as it may be.

    `counts=False`: an interruption that the user asked for is not a retry to be counted.
    Returns: whether a retry is queued, by this call or an earlier one.
    """
    others = study.get_trials(deepcopy=False)
    if any(other.user_attrs.get("retry_of") == trial.number for other in others):
        return True
    retries = trial.user_attrs.get("retries", 0) + counts
    if counts and retries > max_retries:
        return False
    attrs: dict[str, Any] = {"retry_of": trial.number, "retries": retries}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=attrs,
            system_attrs=trial.system_attrs,  # the grid's cell, the generation
        )
    )
    return True


def ranked(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Complete trials, best first; of several objectives, by the first."""
    maximize = study.directions[0] == optuna.study.StudyDirection.MAXIMIZE
    return sorted(trials, key=lambda t: (t.values or [0.0])[0], reverse=maximize)
