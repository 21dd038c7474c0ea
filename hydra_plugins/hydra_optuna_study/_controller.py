"""The controller: makes or loads the study, launches its workers, relaunches what died, sums up."""

from __future__ import annotations

import secrets
import shlex
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import optuna
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from optuna.study import StudyDirection

from hydra_plugins.hydra_optuna_study import _interrupt
from hydra_plugins.hydra_optuna_study._abort import refuse
from hydra_plugins.hydra_optuna_study._callback import NoObserver, Observer
from hydra_plugins.hydra_optuna_study._config import Plan, follow_up, read_plan
from hydra_plugins.hydra_optuna_study._disk import is_full
from hydra_plugins.hydra_optuna_study._identity import difference, digest, identity
from hydra_plugins.hydra_optuna_study._instantiate import build
from hydra_plugins.hydra_optuna_study._launch import App
from hydra_plugins.hydra_optuna_study._process import this_host
from hydra_plugins.hydra_optuna_study._progress import Watch, best_table
from hydra_plugins.hydra_optuna_study._trials import Tally, failure_of, reap, tally

FRUITLESS_LAUNCHES = 3  # launches in a row that may break without finishing a trial


def sweep(
    settings: Mapping[str, Any],
    arguments: Sequence[str],
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
) -> optuna.Study:
    """One search, and those that the observer asks for when it is complete.

    Returns: the first search's study.
    Raises: SystemExit: 2 after a user's mistake, 1 if too many trials failed, 130 after Ctrl-C.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _interrupt.asked.clear()
    loader = hydra_context.config_loader
    plan = read_plan(settings, arguments, config, loader)
    observer: Observer = NoObserver() if plan.observer is None else build(plan.observer)
    app = App(config, hydra_context, task_function)
    observer.check(config)
    try:
        first = study = _search(plan, app, observer, follows=None)
        while tally(study).finished >= plan.n_trials and (search := observer.next_search(study)):
            plan = follow_up(plan, search, loader)
            study = _search(plan, app, observer, follows=first.study_name)
    except KeyboardInterrupt:  # before or after its workers were at work
        print(f"study {plan.study_name} interrupted; {_continue_with()}", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:  # of a driver's or a launcher's own class; all others go on
        if not is_full(error):
            raise
        told = f"study {plan.study_name} stopped: no space left on the disk of {plan.folder}"
        print(f"{told}; make some, then {_continue_with()}", file=sys.stderr)
        raise SystemExit(1) from None
    return first


def _search(plan: Plan, app: App, observer: Observer, follows: str | None) -> optuna.Study:
    """Bring one study to its budget, or as far as it goes."""
    # One point composed here: Hydra refuses an unknown key once, and before anything is written.
    overrides = [*plan.space.fixed, *plan.space.probe()]
    composed = app.hydra_context.config_loader.load_sweep_config(app.config, overrides)
    study = _create_or_load(plan, composed, follows)
    _settle(plan, study)
    ended = False
    try:
        with plan.place.lock("observer"):
            observer.study_started(study, app.config)
        _work(plan, study, app, observer)
        ended = True
    finally:
        with plan.place.lock("observer"):
            observer.study_ended(study, interrupted=not ended)
    return study


def _create_or_load(plan: Plan, composed: DictConfig, follows: str | None) -> optuna.Study:
    """The study by its name.

    Raises: SystemExit(2), with the difference, if what is stored is another search.
    """
    asked = identity(plan.space, plan.directions, plan.metrics, composed, plan.free)
    if plan.place.file:
        plan.place.file.parent.mkdir(parents=True, exist_ok=True)
    with plan.place.lock():
        name, storage = plan.study_name, plan.place.open()
        try:
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            directions = [StudyDirection[direction.upper()] for direction in plan.directions]
            study = optuna.create_study(study_name=name, storage=storage, directions=directions)
        stored = study.user_attrs.get("identity")
        if stored is None:
            facts = {"digest": digest(asked), "seed": secrets.randbelow(2**31), "follows": follows}
            for key, value in facts.items():
                study.set_user_attr(key, value)
            study.set_user_attr("identity", asked)  # last: a kill before it leaves a study to fill
    if stored is not None and digest(stored) != digest(asked):
        refuse(
            f"hydra.sweeper.study_name: {plan.study_name} in {plan.place.public} is another "
            f"search: {difference(stored, asked)}; give this one another name"
        )
    return study


def _settle(plan: Plan, study: optuna.Study, ended: Collection[int] = ()) -> Tally:
    """The books, after the trials of dead and `ended` workers are failed and queued again."""
    with plan.place.lock():
        reap(study, plan.max_retries, plan.dead_hosts, ended)
    return tally(study)


def _work(plan: Plan, study: optuna.Study, app: App, observer: Observer) -> None:
    """Launch until the budget is spent, and sum up.

    Raises: SystemExit: 1 if too many trials failed, 130 after Ctrl-C.
    """
    name, place = plan.study_name, plan.place.public
    books = tally(study)
    if books.finished >= plan.n_trials:
        print(f"study {name} is complete: {books.finished} trials in {place}", flush=True)
    else:
        start = f"{books.finished} of {plan.n_trials} trials finished, {plan.workers} workers"
        print(f"study {name}: {start}, {place}", flush=True)
        with _interrupt.polite_interrupt(lambda: _ask_to_stop(study, plan)):
            try:
                _launch_until_done(plan, study, app, observer)
            except KeyboardInterrupt:
                _interrupt.asked.set()
    _sum_up(plan, study)


def _launch_until_done(plan: Plan, study: optuna.Study, app: App, observer: Observer) -> None:
    """Launch workers, and again if some died, until nothing is left that one could do."""
    fruitless = 0
    told: set[str] = set()
    with Watch(study, plan.n_trials, observer.trials_changed):
        while not _interrupt.asked.is_set():
            before = _settle(plan, study)
            left = plan.n_trials - before.taken
            if before.too_many_failures(plan.max_failure_rate, plan.n_trials):
                return
            if left <= 0:
                if not before.running:
                    return
                _wait_for_others(plan, before, told)
                continue
            error, ended = app.launch(plan, study, min(plan.workers, left))
            if error and is_full(error):
                raise error
            after = _settle(plan, study, ended)
            idle = after.finished == before.finished and after.replaced == before.replaced
            if idle and not error:
                return  # the sampler has nothing left to propose
            fruitless = fruitless + 1 if idle else 0
            if error and fruitless >= FRUITLESS_LAUNCHES:
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                print(
                    f"study {plan.study_name} stopped: {fruitless} launches in a row ended without "
                    f"a trial: {reason}",
                    file=sys.stderr,
                )
                raise SystemExit(1) from error


def _wait_for_others(plan: Plan, books: Tally, told: set[str]) -> None:
    """They finish the last trials; if they die, we are here. Each unseen machine is told once."""
    time.sleep(0.5)
    for trial in books.running:
        host = trial.user_attrs.get("worker", {}).get("host", this_host())
        if host != this_host() and host not in told and not plan.place.is_server:
            told.add(host)
            print(
                f"waiting for trial {trial.number}, begun on {host}; if that machine is gone, "
                f"continue with hydra.sweeper.dead_hosts=[{host}]",
                file=sys.stderr,
            )


def _ask_to_stop(study: optuna.Study, plan: Plan) -> None:
    print("\nstopping at the next step of each trial; Ctrl-C again ends at once", file=sys.stderr)
    study.set_user_attr(plan.stop_key, True)


def _sum_up(plan: Plan, study: optuna.Study) -> None:
    books = _settle(plan, study) if _interrupt.asked.is_set() else tally(study)
    if books.complete:
        print(best_table(study), flush=True)
    if books.too_many_failures(plan.max_failure_rate, plan.n_trials):
        last = books.failed[-1]
        print(
            f"study {plan.study_name} stopped: {len(books.failed)} of {books.finished} finished "
            f"trials failed, more than hydra.sweeper.max_failure_rate={plan.max_failure_rate}; "
            f"trial {last.number}: {failure_of(last)}",
            file=sys.stderr,
        )
        raise SystemExit(1)
    if books.failed:
        last = books.failed[-1]
        print(
            f"{len(books.failed)} of {books.finished} finished trials failed; "
            f"trial {last.number}: {failure_of(last)}",
            file=sys.stderr,
        )
    if _interrupt.asked.is_set():
        print(
            f"study {plan.study_name} interrupted at {books.finished} of {plan.n_trials} trials; "
            f"{_continue_with()}",
            file=sys.stderr,
        )
        raise SystemExit(130)


def _continue_with() -> str:
    return f"continue with: {shlex.join(['python', *sys.orig_argv[1:]])}"
