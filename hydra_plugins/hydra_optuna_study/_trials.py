"""The trials of a study: which of them the budget counts, and the retries of dead workers' trials.

A trial whose worker died is failed, and a *retry* with equal parameters is queued in its place. A
replaced trial is not counted. All functions that write expect the study's lock to be held.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from ._private import running_trial
from ._process import process_of, this_boot

MAX_OUTAGES = 3  # deaths of everything in a row, without progress, that one trial may be running at
SAME_FAILURES = 3  # points that fail alike before any succeeds
ALREADY_FINISHED = (UpdateFinishedTrialError, ValueError)  # `tell` raises the second


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


def hopeless(trials: TrialsByState) -> str | None:
    """Why no trial can succeed, as far as the first ones tell; None while there is hope.

    A mistake of the command (the metric, the composition) shows in any trial. What the first
    three points all die of, numbers in its message apart, is hardly the fault of the points.
    """
    if trials.complete or trials.pruned:
        return None
    for trial in trials.failed:
        if trial.user_attrs.get("mistake"):
            return f"every trial would fail as trial {trial.number} did: {failure_of(trial)}"
    by_point = {str(sorted(t.params.items())): t for t in trials.failed}
    alike = {re.sub(r"[-+]?\d[\d.e+-]*|nan|inf", "#", failure_of(t)) for t in by_point.values()}
    if len(by_point) < SAME_FAILURES or len(alike) > 1:
        return None
    return f"the first {len(by_point)} points failed alike: {failure_of(trials.failed[0])}"


def _died_alone(
    trial: FrozenTrial, dead_hosts: Collection[str], ended: Collection[int]
) -> bool | None:
    """Whether the worker of this running trial died, and nothing else; None: it may still work.

    A trial is claimed and signed under the lock, so an unsigned one lost its worker in between. A
    worker on another machine cannot be seen: a database server has its heartbeat, for a journal
    file the user names `dead_hosts`. `ended` are the numbers of workers that returned: their
    process may live on, and a trial that they could not finish in the storage is still running.
    """
    signature = trial.user_attrs.get("worker")
    if signature is None or signature.get("number") in ended:
        return False
    worker = process_of(signature)
    if worker.host in dead_hosts:
        return False
    if not worker.is_here or worker.is_alive:
        return None
    controller = process_of(signature.get("controller", signature))
    return worker.boot == this_boot() and controller.is_here and controller.is_alive


def fail_stale_trials(
    study: optuna.Study,
    max_retries: int,
    dead_hosts: Collection[str] = (),
    ended: Collection[int] = (),
) -> None:
    """Queue retries of the running trials of dead workers, and fail these."""
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        optuna.storages.fail_stale_trials(study)  # of other machines, by their heartbeat
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    died = [(t, alone) for t in running if (alone := _died_alone(t, dead_hosts, ended)) is not None]
    # One death in a pool of processes ends them all, and nobody knows whose was the first.
    first_known = sum(alone for _, alone in died) == 1
    for trial, alone in died:
        reason = retry_after_death(study, trial, max_retries, own=alone and first_known)
        with suppress(*ALREADY_FINISHED):  # another machine failed it, by its heartbeat
            running_trial(study, trial).set_user_attr("failure", reason)
            study.tell(trial.number, state=TrialState.FAIL)
    for trial in trials_by_state(study).failed:
        if "failure" not in trial.user_attrs:  # failed by the heartbeat, or the disk was full
            retry_after_death(study, trial, max_retries, own=False)


def retry_after_death(
    study: optuna.Study, trial: FrozenTrial, max_retries: int, *, own: bool
) -> str:
    """Queue the retry of a trial whose worker died, unless it has used up its deaths.

    Its own deaths are limited by `max_retries`. Those that took more than its worker (a power cut,
    a kill of everything, a lost database) say nothing of the trial, unless it was running at
    `MAX_OUTAGES` of them in a row while neither it nor the study got any further.
    Returns: the reason to give when the trial is failed.
    """
    attrs = trial.user_attrs
    reached = max(trial.intermediate_values, default=-1)
    further = reached > attrs.get("reached", -1)
    retries, outages = attrs.get("retries", 0), attrs.get("outages", 0)
    if own:
        retries += not further
        exhausted, why = retries > max_retries, f", after {max_retries} retries"
    else:
        outages = 0 if further or _study_went_on(study, trial) else outages + 1
        exhausted = outages >= MAX_OUTAGES
        why = f" with others, {outages} times in a row and without progress"
    if not exhausted:
        reached = max(reached, attrs.get("reached", -1))
        queue_retry(study, trial, retries=retries, outages=outages, reached=reached)
    queued = _retry_of(study, trial) is not None
    return f"its worker died{'; it is tried again' if queued else why}"


def _study_went_on(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether another trial has been finished since this one began; unsigned, it never began."""
    if "worker" not in trial.user_attrs:
        return True
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    began = trial.datetime_start
    return began is None or any(t.datetime_complete and t.datetime_complete > began for t in done)


def _retry_of(study: optuna.Study, trial: FrozenTrial) -> FrozenTrial | None:
    others = study.get_trials(deepcopy=False)
    return next((t for t in others if t.user_attrs.get("retry_of") == trial.number), None)


def queue_retry(study: optuna.Study, trial: FrozenTrial, **attrs: int) -> None:
    """Queue a trial with equal parameters, unless that has been done already.

    Args: attrs: what the retry is to know of earlier ones; by default the same as `trial`.
    """
    if _retry_of(study, trial):
        return
    kept = {k: v for k, v in trial.user_attrs.items() if k in ("retries", "outages", "reached")}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"retry_of": trial.number, **kept, **attrs},
            system_attrs=trial.system_attrs,  # the grid's cell, the generation
        )
    )


def retry_failed(study: optuna.Study) -> int:
    """Queue every failed trial again, as if it had never been tried; returns how many."""
    failed = trials_by_state(study).failed
    for trial in failed:
        queue_retry(study, trial, retries=0, outages=0)
    return len(failed)


def ranked(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Complete trials, best first; with several objectives by the first."""
    maximize = study.directions[0] == optuna.study.StudyDirection.MAXIMIZE
    return sorted(trials, key=lambda t: (t.values or [0.0])[0], reverse=maximize)
