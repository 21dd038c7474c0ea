"""A worker: one Hydra job that claims, composes and runs trials until the budget is spent."""

from __future__ import annotations

import copy
import functools
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from ._config import SweepConfig
from ._private import apply_overrides, override_dirname
from ._process import (
    Stopped,
    busy,
    cores,
    is_disk_full,
    one_line,
    stop_on_signal,
)
from ._program import deferring, running
from ._trials import retry_after_death
from ._worker_study import (
    BudgetExhausted,
    LeftAlone,
    Mistake,
    TrialFailed,
    WorkerStudy,
    WorkerTrial,
    objective_values,
    record_failure,
)


@dataclass
class Worker:
    """The task of the launcher's W jobs; it runs the user's task once per trial."""

    sweep: SweepConfig
    seed: int
    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction
    composer: Composer = field(init=False)
    disk_full: Exception | None = None  # the error that ends this worker

    def __call__(self, _: DictConfig) -> None:
        """Run trials until the budget is spent; the job's own config is not used."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # the controller prints progress
        logging.raiseExceptions = False  # no traceback for a log line on a full disk
        number = int(HydraConfig.get().job.num)
        loader = self.hydra_context.config_loader
        self.composer = Composer(loader, self.config, self.sweep.space.fixed)
        storage = self.sweep.storage.open(self.retry_stale)
        with busy(), stop_on_signal():
            study = WorkerStudy(self.sweep, storage, self.seed, number)
            with deferring():
                self.work(study)
            if study.controller_died():
                os._exit(0)  # nobody waits for this job's return value

    def work(self, study: optuna.Study) -> None:
        while True:
            try:
                study.optimize(self.objective, catch=(Exception,))
            except (BudgetExhausted, Stopped):
                return
            except LeftAlone as left:
                if left.args:
                    raise left.args[0] from None
                continue
            if self.disk_full:
                raise self.disk_full
            return  # the sampler stopped the study: a grid is exhausted

    def retry_stale(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Queue a trial again that the heartbeat has failed."""
        with self.sweep.storage.lock():
            retry_after_death(study, trial, self.sweep.max_retries, own=False)

    def objective(self, trial: optuna.Trial) -> float | Sequence[float]:
        """Run one trial; a worker that was taken for dead has no say in it any more."""
        assert isinstance(trial, WorkerTrial)
        try:
            return self.run_trial(trial)
        except UpdateFinishedTrialError:
            raise LeftAlone from None

    def run_trial(self, trial: WorkerTrial) -> float | Sequence[float]:
        """Sample a point, compose its config, run it as a Hydra job of its own, give its value."""
        folder = self.sweep.folder / str(trial.number)
        try:
            sampled = self.sweep.space.suggest(trial)
            trial.set_user_attr("overrides", sampled)
            config = self.compose(sampled, trial)
            folder = self.sweep.folder / str(config.hydra.sweep.subdir)
            return objective_values(self.sweep, self.run(trial, config))
        except (TrialPruned, UpdateFinishedTrialError):
            raise
        except KeyboardInterrupt:
            trial.study.requeue(trial, "interrupted; it is tried again")
            raise
        except Exception as error:  # whatever the task raised: recorded, and raised again
            if is_disk_full(error):
                self.disk_full = error
                trial.study.stop()
                trial.study.requeue(trial, "the disk was full; it is tried again")
            else:
                record_failure(trial, error, folder)
            raise

    def compose(self, sampled: Sequence[str], trial: WorkerTrial) -> DictConfig:
        """The config of a trial: a Hydra job with the trial's number and a folder of its own.

        Raises: Mistake if Hydra cannot compose it.
        """
        try:
            config = self.composer.compose(sampled)
        except HydraException as error:
            raise Mistake(one_line(error)) from error
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{trial.number}"
            config.hydra.job.num = -1
            numberless = str(config.hydra.sweep.subdir)
            config.hydra.job.num = trial.number
            # Two trials may have equal parameters: where the pattern has no number, whoever makes
            # the folder has it, and the other adds its number.
            if str(config.hydra.sweep.subdir) == numberless:
                try:
                    (self.sweep.folder / numberless).mkdir(parents=True)
                except FileExistsError:
                    config.hydra.sweep.subdir = f"{numberless}-{trial.number}"
        return config

    def run(self, trial: WorkerTrial, config: DictConfig) -> Any:
        """Run the user's task by `run_job`; returns or raises what the task returns or raises.

        For Hydra and its callbacks a pruned trial is a completed job.
        """
        raised: list[Exception] = []

        def task(task_config: DictConfig) -> Any:
            try:
                with self.trial_context(trial):
                    return self.task_function(task_config)
            except TrialPruned as pruned:
                raised.append(pruned)
                return None
            except SystemExit as error:
                raised.append(TrialFailed(f"the task left the program with {error.code!r}"))
                raise raised[0] from error
            except Exception as error:  # raised again; Hydra's job return would wrap it
                raised.append(error)
                raise

        job = run_job(
            hydra_context=self.hydra_context,
            task_function=task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if raised:
            raise raised[0]
        return job.return_value

    @contextmanager
    def trial_context(self, trial: WorkerTrial) -> Iterator[None]:
        """Within, `current_trial()` returns `trial`; BLAS uses this worker's share of the cores."""
        from threadpoolctl import threadpool_limits

        threads = max(1, cores() // trial.study.workers_here())
        trial.set_user_attr("threads", threads)
        token = running.set(trial)
        try:
            with threadpool_limits(threads):
                yield
        finally:
            running.reset(token)


class Composer:
    """Composes one trial config after another, without a full composition for each.

    A value override never changes which files are composed. So Hydra composes once per choice of
    config groups, and values are applied to a copy of that by Hydra's own function. A test
    compares the result with a full composition.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, fixed: Sequence[str]) -> None:
        self.master, self.fixed = master, list(fixed)
        self.parser = OverridesParser.create(config_loader=loader)
        self.parsed = self.parser.parse_overrides(self.fixed)
        self.group_options = functools.cache(loader.get_group_options)
        self.with_groups = functools.cache(
            lambda groups: loader.load_sweep_config(master, [*fixed, *groups])
        )

    def compose(self, sampled: Sequence[str]) -> DictConfig:
        """The same as `load_sweep_config` for the fixed and the sampled overrides."""
        parsed = self.parser.parse_overrides(list(sampled))
        groups = tuple(
            str(o.input_line)
            for o in parsed
            if o.package is not None or self.group_options(o.key_or_group)
        )
        config = copy.deepcopy(self.with_groups(groups))
        OmegaConf.copy_cache(from_config=self.master, to_config=config)
        apply_overrides([o for o in parsed if o.input_line not in groups], config)
        dirname = override_dirname([*self.parsed, *parsed], config)
        job, overrides = config.hydra.job, config.hydra.overrides
        with read_write(overrides), read_write(job), open_dict(job):
            overrides.task = [*self.fixed, *sampled]
            if dirname is not None:
                job.override_dirname = dirname
        return config
