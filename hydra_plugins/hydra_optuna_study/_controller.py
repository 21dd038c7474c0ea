"""The controller: makes or loads the study, launches its workers, relaunches what died, sums up."""

from __future__ import annotations

import copy
import random
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from hydra._internal.callbacks import Callbacks
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_optuna_study import _interrupt
from hydra_plugins.hydra_optuna_study._build import build
from hydra_plugins.hydra_optuna_study._identity import difference, digest, identity
from hydra_plugins.hydra_optuna_study._ledger import failure_of, reap, tally
from hydra_plugins.hydra_optuna_study._observer import NoObserver, Observer
from hydra_plugins.hydra_optuna_study._plan import Plan, follow_up, read_plan
from hydra_plugins.hydra_optuna_study._progress import Watch, best_table
from hydra_plugins.hydra_optuna_study._refusal import refuse
from hydra_plugins.hydra_optuna_study._worker import Worker

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
    loader = hydra_context.config_loader
    plan = read_plan(settings, arguments, config, loader)
    observer = _observer(settings["observer"])
    room = _Room(config, hydra_context, task_function, observer)
    first = study = room.search(plan)
    while search := observer.next_search(study):
        plan = follow_up(plan, search, loader)
        study = room.search(plan, follows=first.study_name)
    return first


def _observer(node: Any) -> Observer:
    if node is None:
        return NoObserver()
    observer: Observer = build(node)
    return observer


@dataclass
class _Room:
    """What the searches of one sweep have in common."""

    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction
    observer: Observer

    def search(self, plan: Plan, follows: str | None = None) -> optuna.Study:
        """Bring one study to its budget, or as far as it goes."""
        self.probe(plan)
        study = _create_or_load(plan, follows)
        with plan.place.lock():
            reap(study, plan.place, plan.max_retries)
        finished = False
        self.observer.study_started(study, self.config)
        try:
            finished = self.work(plan, study)
        finally:
            self.observer.study_ended(study, interrupted=not finished)
        return study

    def probe(self, plan: Plan) -> None:
        """Compose one point of the space: Hydra refuses an unknown key once, before any trial."""
        overrides = [*plan.space.fixed, *plan.space.probe()]
        self.hydra_context.config_loader.load_sweep_config(self.config, overrides)

    def work(self, plan: Plan, study: optuna.Study) -> bool:
        """Launch until the budget is spent; False if the study was stopped before."""
        books = tally(study)
        if books.finished >= plan.n_trials:
            print(f"study {plan.study_name} is complete: {books.finished} trials in {plan.place.public}")
            print(best_table(study))
            return True
        print(
            f"study {plan.study_name}: {books.finished} of {plan.n_trials} trials finished, "
            f"{plan.workers} workers, {plan.place.public}",
            flush=True,
        )
        _interrupt.asked.clear()
        with _interrupt.polite_interrupt(lambda: _ask_to_stop(study, plan)):
            try:
                self.launches(plan, study)
            except KeyboardInterrupt:
                _interrupt.asked.set()
        with plan.place.lock():
            reap(study, plan.place, plan.max_retries)
        return self.sum_up(plan, study)

    def launches(self, plan: Plan, study: optuna.Study) -> None:
        """Launch workers, and again if some died, until nothing is left that one could do."""
        fruitless = 0
        with Watch(study, plan.n_trials, self.observer.trials_changed):
            while not _interrupt.asked.is_set():
                with plan.place.lock():
                    reap(study, plan.place, plan.max_retries)
                before = tally(study)
                left = plan.n_trials - before.taken
                if before.too_many_failures(plan.max_failure_rate, plan.n_trials):
                    return
                if left <= 0:
                    if not before.running:
                        return
                    time.sleep(0.5)  # others finish the last trials; if they die, we are here
                    continue
                error = self.launch(plan, study, min(plan.workers, left))
                after = tally(study)
                idle = after.finished == before.finished and after.replaced == before.replaced
                if idle and not error:
                    return  # the sampler has nothing left to propose
                fruitless = fruitless + 1 if idle else 0
                if fruitless >= FRUITLESS_LAUNCHES and error:
                    raise error

    def launch(self, plan: Plan, study: optuna.Study, workers: int) -> Exception | None:
        """One launch of that many workers, until all of them ended; the first error, if any."""
        first = _worker_numbers(plan, study, workers)
        config = _launch_config(self.config, plan, workers)
        seed = study.user_attrs["seed"] if plan.seed is None else plan.seed
        worker = Worker(plan, seed, first, config, self.hydra_context, self.task_function)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(self.hydra_context.config_loader, Callbacks()),
            task_function=worker,
            config=config,
        )
        jobs = [[*plan.space.fixed, *_worker_overrides(first + k)] for k in range(workers)]
        try:
            returns = launcher.launch(jobs, initial_job_idx=first)
        except Exception as error:  # a killed process breaks a whole pool; the books tell what is lost
            return error
        errors = [job._return_value for job in returns if job.status == JobStatus.FAILED]
        return errors[0] if errors else None

    def sum_up(self, plan: Plan, study: optuna.Study) -> bool:
        """The last lines; whether the study is complete.

        Raises: SystemExit, 130 after Ctrl-C, 1 if too many trials failed.
        """
        books = tally(study)
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
        if _interrupt.asked.is_set():
            print(
                f"study {plan.study_name} interrupted at {books.finished} of {plan.n_trials} trials; "
                f"continue with: {shlex.join(_command())}",
                file=sys.stderr,
            )
            raise SystemExit(130)
        return books.finished >= plan.n_trials


def _create_or_load(plan: Plan, follows: str | None) -> optuna.Study:
    """The study by its name; refused if its stored identity is another one."""
    asked = identity(plan.space, plan.directions, plan.metrics)
    if plan.place.file:
        plan.place.file.parent.mkdir(parents=True, exist_ok=True)
    with plan.place.lock():
        study = optuna.create_study(
            study_name=plan.study_name,
            storage=plan.place.open(),
            directions=list(plan.directions),
            load_if_exists=True,
        )
        stored = study.user_attrs.get("identity")
        if stored is None:
            study.set_user_attr("identity", asked)
            study.set_user_attr("digest", digest(asked))
            study.set_user_attr("seed", random.randrange(2**31))
            if follows:
                study.set_user_attr("follows", follows)
    if stored is not None and digest(stored) != digest(asked):
        refuse(
            f"hydra.sweeper.study_name: study {plan.study_name} in {plan.place.public} is another "
            f"search: {difference(stored, asked)}; give this one another name"
        )
    return study


def _worker_numbers(plan: Plan, study: optuna.Study, workers: int) -> int:
    """The first of that many numbers which no worker of the study had before."""
    with plan.place.lock():
        first: int = study.user_attrs.get("workers", 0)
        study.set_user_attr("workers", first + workers)
    return first


def _launch_config(config: DictConfig, plan: Plan, workers: int) -> DictConfig:
    """The sweep's config for one launch; what differs is an override too, for every composed job."""
    config = copy.deepcopy(config)
    for node in (config.hydra.sweep, config.hydra.launcher, config.hydra.overrides.hydra):
        OmegaConf.set_readonly(node, False)  # Hydra 1.4 closes them
    changes: dict[str, Any] = {"hydra.sweep.dir": str(plan.folder)}
    if config.hydra.launcher.get("n_jobs") == -1:  # joblib: a process for each worker
        changes["hydra.launcher.n_jobs"] = workers
    for key, value in changes.items():
        OmegaConf.update(config, key, value)
        text = QuotedString(value, Quote.single).with_quotes() if isinstance(value, str) else value
        config.hydra.overrides.hydra.append(f"{key}={text}")
    return config


def _worker_overrides(number: int) -> list[str]:
    """A worker is a Hydra job beside the trials' jobs; it has a folder for its log only."""
    return [f"hydra.sweep.subdir=.workers/{number}", "hydra.output_subdir=null", "hydra.job.chdir=false"]


def _ask_to_stop(study: optuna.Study, plan: Plan) -> None:
    print("\nstopping at the next step of each trial; Ctrl-C again ends at once", file=sys.stderr)
    study.set_user_attr(plan.stop_key, True)


def _command() -> list[str]:
    """What was typed."""
    return ["python", *sys.orig_argv[1:]]
