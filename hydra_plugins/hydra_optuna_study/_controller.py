"""The controller: creates or loads a study, launches workers until it is complete, sums up."""

from __future__ import annotations

import secrets
import shlex
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.study import StudyDirection

from ._config import SweepConfig, follow_up_config, read_sweep_config
from ._launch import App, difference, identity
from ._process import abort, is_disk_full, one_line, stop_on_signal, stop_requested
from ._program import StudyCallback, instantiate, without_passwords
from ._progress import Progress, sum_up
from ._trials import (
    TrialsByState,
    fail_stale_trials,
    hopeless,
    retry_failed,
    trials_by_state,
)

MAX_FAILED_LAUNCHES = 3  # in a row, each broken before a trial was finished


def run_sweep(settings: Mapping[str, Any], arguments: Sequence[str], app: App) -> optuna.Study:
    """Run one study, and those that the callback asks for after it.

    Args:
        settings: `hydra.sweeper`.
        arguments: overrides of the command line.

    Returns: the first study.
    Raises: SystemExit: 2 after a user's mistake, 1 if too many trials failed, 130 after Ctrl-C.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    stop_requested.clear()
    sweep = read_sweep_config(settings, arguments, app)
    callback = _make_callback(sweep)
    callback.check(app.config)
    try:
        first = study = _run_study(sweep, app, callback, follows=None)
        while trials_by_state(study).finished >= sweep.n_trials:
            follow = callback.follow_up(study)
            if follow is None:
                break
            sweep = follow_up_config(sweep, follow, app.loader)
            study = _run_study(sweep, app, callback, follows=first.study_name)
    except KeyboardInterrupt:  # while no worker was running
        abort(f"study {sweep.study_name} interrupted; {_continue_with()}", code=130)
    except Exception as error:  # drivers and launchers raise their own classes
        if not is_disk_full(error):
            raise
        reason = f"no space left on the disk of {sweep.folder}; make some, then {_continue_with()}"
        abort(f"study {sweep.study_name} stopped: {reason}", code=1)
    return first


def _make_callback(sweep: SweepConfig) -> StudyCallback:
    if sweep.callback is None:
        return StudyCallback()
    try:
        callback: StudyCallback = instantiate(sweep.callback, StudyCallback)
    except Exception as error:  # noqa: BLE001  # whatever a constructor raises
        abort(f"hydra.sweeper.callback: {one_line(error)}")
    return callback


def _run_study(
    sweep: SweepConfig, app: App, callback: StudyCallback, follows: str | None
) -> optuna.Study:
    """Bring one study to its budget, or as far as possible."""
    composed = app.probe(sweep.space)
    callback.check_point(composed)
    study = _create_or_load(sweep, composed, follows)
    _retry_failed(sweep, study)
    ended = False
    try:
        with sweep.storage.lock("callback"):
            callback.study_started(study, app.config)
        _work(sweep, study, app, callback)
        ended = True
    finally:
        with sweep.storage.lock("callback"):
            callback.study_ended(study, interrupted=not ended)
    return study


def _create_or_load(sweep: SweepConfig, composed: DictConfig, follows: str | None) -> optuna.Study:
    """The study by its name.

    Raises: SystemExit(2), with the difference, if the stored study is another one.
    """
    given = identity(sweep, composed)
    directions = [StudyDirection[direction.upper()] for direction in sweep.directions]
    if sweep.storage.file:
        try:
            sweep.storage.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if is_disk_full(error):
                raise
            abort(f"hydra.sweeper.storage: {sweep.storage.file}: {error.strerror}")
    with sweep.storage.lock():
        name, storage = sweep.study_name, sweep.storage.open()
        try:  # `load_if_exists` would write to a journal each time
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            study = optuna.create_study(study_name=name, storage=storage, directions=directions)
        stored = study.user_attrs.get("identity")
        if stored is None and (study.get_trials(deepcopy=False) or study.directions != directions):
            abort(
                f"hydra.sweeper.study_name: {name} in {sweep.storage.public} was not made by this "
                "sweeper; give this one another name"
            )
        if stored is None:
            study.set_user_attr("seed", secrets.randbelow(2**31))
            study.set_user_attr("follows", follows)
            study.set_user_attr("identity", given)  # last: if it is missing, all are set again
        elif differs := difference(stored, given):
            abort(
                f"hydra.sweeper.study_name: {name} in {sweep.storage.public} is another search: "
                f"{differs}; {_begin_anew(sweep)}"
            )
    return study


def _fail_stale(
    sweep: SweepConfig, study: optuna.Study, ended: Collection[int] = ()
) -> TrialsByState:
    """Fail the trials of dead and `ended` workers and queue their retries; returns all trials."""
    with sweep.storage.lock():
        fail_stale_trials(study, sweep.max_retries, sweep.dead_hosts, ended)
    return trials_by_state(study)


def _retry_failed(sweep: SweepConfig, study: optuna.Study) -> None:
    """Queue failed trials again: if asked to, or if there is nothing but failed ones."""
    trials = _fail_stale(sweep, study)
    useless = not (trials.complete or trials.pruned or trials.running)
    if sweep.retry_failed or useless:
        with sweep.storage.lock():
            number = retry_failed(study)
        if number:
            print(f"study {sweep.study_name}: {number} failed trials are tried again", flush=True)


def _work(sweep: SweepConfig, study: optuna.Study, app: App, callback: StudyCallback) -> None:
    """Launch workers until the budget is spent, and print a summary.

    Raises: SystemExit: 1 if too many trials failed, 130 after Ctrl-C.
    """
    name, storage = sweep.study_name, sweep.storage.public
    trials = trials_by_state(study)
    if trials.finished >= sweep.n_trials:
        print(f"study {name} is complete: {trials.finished} trials in {storage}", flush=True)
    else:
        start = f"{trials.finished} of {sweep.n_trials} trials finished, {sweep.workers} workers"
        print(f"study {name}: {start}, {storage}", flush=True)
        with stop_on_signal(lambda: _request_stop(study, sweep)):
            try:
                _launch_until_done(sweep, study, app, callback)
            except KeyboardInterrupt:
                stop_requested.set()
    trials = _fail_stale(sweep, study)
    sum_up(study, trials, sweep, stop_requested.is_set(), _continue_with())


def _launch_until_done(
    sweep: SweepConfig, study: optuna.Study, app: App, callback: StudyCallback
) -> None:
    """Launch workers, and again if some died, until the budget is spent or no trial can start."""
    failed_launches = 0
    warned: set[str] = set()
    with Progress(study, sweep.n_trials, callback.trials_changed):
        while not stop_requested.is_set():
            before = _fail_stale(sweep, study)
            left = sweep.n_trials - before.taken
            failing = before.too_many_failures(sweep.max_failure_rate, sweep.n_trials)
            if failing or hopeless(before):
                return
            if left <= 0:
                if not before.running:
                    return
                _wait_for_others(sweep, before, warned)
                continue
            error, ended = app.launch(sweep, study, min(sweep.workers, left))
            if error and is_disk_full(error):
                raise error
            after = _fail_stale(sweep, study, ended)
            idle = after.finished == before.finished and after.replaced == before.replaced
            if idle and not error:
                return  # the sampler has no further point
            raised = error is not None and len(ended) > 0  # in a worker's own code, a sampler's say
            failed_launches = failed_launches + 1 if idle or raised else 0
            if error and failed_launches >= MAX_FAILED_LAUNCHES:
                abort(
                    f"study {sweep.study_name} stopped: {failed_launches} launches in a row ended "
                    f"by {type(error).__name__}: {one_line(error)}; then {_continue_with()}",
                    code=1,
                )


def _wait_for_others(sweep: SweepConfig, trials: TrialsByState, warned: set[str]) -> None:
    """Other controllers run the last trials; warn once about each machine that cannot be seen."""
    time.sleep(0.5)
    here = sweep.controller.host
    for trial in trials.running:
        host = trial.user_attrs.get("worker", {}).get("host", here)
        if host not in {here, *warned} and not sweep.storage.is_server:
            warned.add(host)
            _warn(
                f"waiting for trial {trial.number}, begun on {host}; if that machine is gone, "
                f"continue with hydra.sweeper.dead_hosts=[{host}]"
            )


def _request_stop(study: optuna.Study, sweep: SweepConfig) -> None:
    study.set_user_attr(sweep.stop_key, True)
    running = ", ".join(str(trial.number) for trial in trials_by_state(study).running)
    waits = f"at the next step of the running trials ({running})" if running else "now"
    _warn(f"\nstopping {waits}; Ctrl-C again ends at once")


def _warn(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _continue_with() -> str:
    words = [word for word in sys.orig_argv[1:] if "hydra.sweeper.retry_failed=" not in word]
    command = shlex.join(["python", *words])
    shown = without_passwords(command)
    fill_in = "" if shown == command else " (*** is a password, to be filled in)"
    return f"continue with: {shown}{fill_in}"


def _begin_anew(sweep: SweepConfig) -> str:
    file = sweep.storage.file
    inside = file is not None and file.parent == sweep.folder
    remove = f", or remove {sweep.folder} to begin anew" if inside else ""
    return f"give this one another hydra.sweeper.study_name{remove}"
