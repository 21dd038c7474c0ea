"""A worker: one Hydra job that claims, composes, runs and tells trials until none is left."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from hydra_plugins.hydra_optuna_study import _interrupt
from hydra_plugins.hydra_optuna_study._claims import NothingLeft, WorkerStudy
from hydra_plugins.hydra_optuna_study._compose import Composer
from hydra_plugins.hydra_optuna_study._config import Plan
from hydra_plugins.hydra_optuna_study._disk import is_full
from hydra_plugins.hydra_optuna_study._outcome import TrialFailed, explain, objective_values
from hydra_plugins.hydra_optuna_study._process import cores, process_of, this_host
from hydra_plugins.hydra_optuna_study._trial import nothing_left_behind, running
from hydra_plugins.hydra_optuna_study._trials import queue_retry, tally
from hydra_plugins.hydra_optuna_study._watchdog import at_work


@dataclass
class Worker:
    """The task that the launcher runs W times in place of the user's, which it runs per trial."""

    plan: Plan
    seed: int
    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction
    composer: Composer = field(init=False)
    full: Exception | None = None  # what a full disk refused: no further trial is begun

    def __call__(self, _: DictConfig) -> None:
        """Work until nothing is left to do; the job's own composed config has no use."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # the controller tells what happens
        logging.raiseExceptions = False  # a log that a full disk refuses is not worth a traceback
        number = int(HydraConfig.get().job.num)
        loader = self.hydra_context.config_loader
        self.composer = Composer(loader, self.config, self.plan.space.fixed)
        with at_work(), _interrupt.polite_interrupt():
            study = WorkerStudy(self.plan, self.plan.place.open(self.requeue), self.seed, number)
            with nothing_left_behind():
                self.work(study)
            if study.is_orphan():
                os._exit(0)  # there is nobody to answer to

    def work(self, study: optuna.Study) -> None:
        """One trial after another."""
        while True:
            try:
                study.optimize(self.objective, catch=(Exception,))
            except (NothingLeft, _interrupt.Stopped):
                return
            except UpdateFinishedTrialError:
                continue  # taken for dead meanwhile, and replaced: go on with the next
            if self.full:
                raise self.full
            return  # the sampler says that it has tried everything

    def requeue(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """A trial that the heartbeat gave up is tried again."""
        with self.plan.place.lock():
            queue_retry(study, trial, self.plan.max_retries)

    def objective(self, trial: optuna.Trial) -> float | Sequence[float]:
        """Sample a point, compose its config, run it as a Hydra job of its own, give its value."""
        try:
            sampled = self.plan.space.suggest(trial, self.read_fixed)
            trial.set_user_attr("overrides", sampled)
            config = self.compose(trial.number, sampled)
            return objective_values(self.plan, self.run(trial, config))
        except TrialPruned:
            raise
        except KeyboardInterrupt:
            self.give_back(trial, "interrupted; it is tried again")
            raise
        except Exception as error:
            if is_full(error):
                self.full = error
                trial.study.stop()
                self.give_back(trial, "the disk was full; it is tried again")
            else:
                explain(trial, error, self.plan.folder / str(trial.number))
            raise

    def give_back(self, trial: optuna.Trial, reason: str) -> None:
        """Queue a trial again that did not fail by itself; this is no retry to be counted."""
        trial.set_user_attr("failure", reason)
        with self.plan.place.lock():
            frozen = trial.study.get_trials(deepcopy=False)[trial.number]
            queue_retry(trial.study, frozen, self.plan.max_retries, counts=False)

    def compose(self, number: int, sampled: Sequence[str]) -> DictConfig:
        """The config of a trial, as a Hydra job whose number and folder are the trial's number."""
        config = self.composer.compose(sampled)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        return config

    def read_fixed(self, name: str) -> Any:
        """A value that a condition reads and the study does not sample."""
        return OmegaConf.select(self.composer.compose([]), name)

    def run(self, trial: optuna.Trial, config: DictConfig) -> Any:
        """Run the user's task; what it returns or raises comes out, not `run_job`'s account of it.

        A pruned trial is a completed job to Hydra and its callbacks.
        """
        returned: list[Any] = []
        raised: list[Exception] = []

        def task(task_config: DictConfig) -> Any:
            try:
                with self.marked(trial):
                    returned.append(self.task_function(task_config))
            except TrialPruned as pruned:
                raised.append(pruned)
                return None
            except SystemExit as leaving:
                raised.append(TrialFailed(f"the task left the program with {leaving.code!r}"))
                raise raised[0] from leaving
            except Exception as error:
                raised.append(error)
                raise
            return returned[0]

        job = run_job(
            hydra_context=self.hydra_context,
            task_function=task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if raised:
            raise raised[0]
        return returned[0] if returned else job.return_value

    @contextmanager
    def marked(self, trial: optuna.Trial) -> Iterator[None]:
        """Within, `current_trial()` is this one, and BLAS has its share of the cores."""
        from threadpoolctl import threadpool_limits

        threads = max(1, cores() // self.neighbours(trial.study))
        trial.set_user_attr("threads", threads)
        token = running.set(trial)
        try:
            with threadpool_limits(threads):
                yield
        finally:
            running.reset(token)

    def neighbours(self, study: optuna.Study) -> int:
        """Workers on this machine, this one included."""
        if self.plan.controller.is_here:
            return self.plan.workers
        signed = [t.user_attrs["worker"] for t in tally(study).running if "worker" in t.user_attrs]
        return max(1, [process_of(attrs).host for attrs in signed].count(this_host()))
