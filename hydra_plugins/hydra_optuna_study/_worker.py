"""A worker: one Hydra job that claims, composes, runs and tells trials until the budget is spent."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.core.utils import run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.storages import BaseStorage

from hydra_plugins.hydra_optuna_study import _interrupt
from hydra_plugins.hydra_optuna_study._ledger import queue_retry, tally
from hydra_plugins.hydra_optuna_study._plan import Plan
from hydra_plugins.hydra_optuna_study._process import cores, process_of, this_host, this_process
from hydra_plugins.hydra_optuna_study._samplers import make_pruner, make_sampler
from hydra_plugins.hydra_optuna_study._trial import running


class TrialFailed(Exception):
    """The task ended, but not with a number that a study can use."""


class NothingToDo(Exception):
    """The budget is spent, too much failed, or the study is to stop: no trial can be claimed."""


class StudyTrial(optuna.Trial):
    """A trial that knows when its study is to stop, and that several objectives cannot prune."""

    study: WorkerStudy

    def report(self, value: float, step: int) -> None:
        self.study.stop_if_asked()
        if len(self.study.directions) == 1:
            super().report(value, step)

    def should_prune(self) -> bool:
        self.study.stop_if_asked()
        return len(self.study.directions) == 1 and super().should_prune()


class WorkerStudy(optuna.Study):
    """The shared study as a worker sees it: `ask` hands out what the budget has left, no more."""

    def __init__(self, plan: Plan, storage: BaseStorage, seed: int, worker: int) -> None:
        sampler = make_sampler(plan.sampler, plan.space, seed, worker)
        super().__init__(plan.study_name, storage, sampler, make_pruner(plan.pruner))
        self.plan = plan
        self.looked = 0.0  # when the storage was last asked whether to stop

    def ask(self, fixed_distributions: dict[str, Any] | None = None) -> optuna.Trial:
        """Claim a queued trial or a new one, and sign it.

        One claim at a time, over all workers of the study, so that the total is exact.
        Raises: NothingToDo.
        """
        self.looked = 0.0
        if self.is_stopping() or self._is_orphan():
            raise NothingToDo
        with self.plan.place.lock():
            books = tally(self)
            plan = self.plan
            if books.taken >= plan.n_trials:
                raise NothingToDo
            if books.too_many_failures(plan.max_failure_rate, plan.n_trials):
                raise NothingToDo
            self._thread_local.cached_all_trials = None  # as Study.ask does: look afresh
            trial_id = self._pop_waiting_trial_id()
            if trial_id is None:
                trial_id = self._storage.create_new_trial(self._study_id)
            self._storage.set_trial_user_attr(trial_id, "worker", this_process().attrs())
            return StudyTrial(self, trial_id)  # a grid chooses its cell here, so under the lock too

    def is_stopping(self) -> bool:
        """Whether Ctrl-C reached this process or its controller; the storage is asked once a second."""
        if not _interrupt.asked.is_set() and time.monotonic() - self.looked > 1:
            self.looked = time.monotonic()
            if self.plan.stop_key in self._storage.get_study_user_attrs(self._study_id):
                _interrupt.asked.set()
        return _interrupt.asked.is_set()

    def stop_if_asked(self) -> None:
        if self.is_stopping():
            raise _interrupt.Stopped

    def _is_orphan(self) -> bool:
        """A worker whose controller was killed on this machine ends after its trial."""
        return self.plan.controller.is_here and not self.plan.controller.is_alive


@dataclass
class Worker:
    """The task that the launcher runs W times in place of the user's, which it runs per trial."""

    plan: Plan
    seed: int
    first: int  # number of this launch's first worker; numbers are never used twice in a study
    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction

    def __call__(self, job: DictConfig) -> None:
        """Work until nothing is left to do; `job` is the worker's own composed config, unused."""
        from hydra.core.hydra_config import HydraConfig

        number = int(HydraConfig.get().job.num)
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # the controller tells what happens
        with _interrupt.polite_interrupt():
            study = WorkerStudy(self.plan, self.plan.place.open(self.requeue), self.seed, number)
            keep_composed_files(self.hydra_context)
            while True:
                try:
                    study.optimize(self.objective, catch=(Exception,))
                    return  # the sampler says that it has tried everything
                except (NothingToDo, _interrupt.Stopped):
                    return
                except UpdateFinishedTrialError:
                    continue  # taken for dead meanwhile, and replaced: go on with the next

    def requeue(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """A trial that the heartbeat gave up is tried again."""
        with self.plan.place.lock():
            queue_retry(study, trial, self.plan.max_retries)

    def objective(self, trial: optuna.Trial) -> float | Sequence[float]:
        """Sample a point, compose its config, run it as a Hydra job of its own, give its value."""
        sampled = self.plan.space.suggest(trial, self.read_fixed)
        trial.set_user_attr("overrides", sampled)
        try:
            config = self.compose(trial.number, sampled)
            return self.values(self.run(trial, config))
        except TrialPruned:
            raise
        except _interrupt.Stopped:
            trial.set_user_attr("failure", "interrupted; it is tried again")
            with self.plan.place.lock():
                frozen = trial.study._storage.get_trial(trial._trial_id)
                queue_retry(trial.study, frozen, self.plan.max_retries, counts=False)
            raise
        except Exception as error:
            self.explain(trial, error)
            raise

    def compose(self, number: int, sampled: Sequence[str]) -> DictConfig:
        """The config of a trial, as a Hydra job whose number and folder are the trial's number."""
        overrides = [*self.plan.space.fixed, *sampled]
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        return config

    def read_fixed(self, name: str) -> Any:
        """A value that a condition reads and the study does not sample."""
        fixed = self.hydra_context.config_loader.load_sweep_config(
            self.config, list(self.plan.space.fixed)
        )
        return OmegaConf.select(fixed, name)

    def run(self, trial: optuna.Trial, config: DictConfig) -> Any:
        """Run the user's task; what it returns or raises comes out, past `run_job`'s own account."""
        outcome: list[Any] = []

        def task(task_config: DictConfig) -> Any:
            token = running.set(trial)
            try:
                with self.threads(trial):
                    outcome.append(self.task_function(task_config))
            except TrialPruned as pruned:
                outcome.append(pruned)  # not a failure: Hydra's callbacks see a completed job
            except SystemExit as error:
                outcome.append(TrialFailed(f"the task ended the program with code {error.code}"))
                raise outcome[0] from error
            except Exception as error:
                outcome.append(error)
                raise
            finally:
                running.reset(token)
            return None if isinstance(outcome[0], TrialPruned) else outcome[0]

        job = run_job(
            hydra_context=self.hydra_context,
            task_function=task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if not outcome:
            return job.return_value  # a callback or the file system failed before the task
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def threads(self, trial: optuna.Trial) -> Any:
        """BLAS threads of this trial: the machine's cores shared by the workers on it."""
        workers = self.plan.workers
        if not self.plan.controller.is_here:  # elsewhere, count the trials that run beside this one
            books = tally(trial.study).running
            hosts = [process_of(t.user_attrs["worker"]).host for t in books if "worker" in t.user_attrs]
            workers = max(1, hosts.count(this_host()))
        threads = max(1, cores() // workers)
        trial.set_user_attr("threads", threads)
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            return nullcontext()
        return threadpool_limits(limits=threads)

    def values(self, returned: Any) -> float | list[float]:
        """The objective values in what the task returned.

        Raises: TrialFailed if one is missing or not a finite number.
        """
        metrics, n = self.plan.metrics, len(self.plan.directions)
        if isinstance(returned, Mapping):
            if not metrics:
                raise TrialFailed(f"hydra.sweeper.metric must name one of {list(returned)}")
            missing = [metric for metric in metrics if metric not in returned]
            if missing:
                raise TrialFailed(f"hydra.sweeper.metric: no {missing[0]} in {list(returned)}")
            items = [returned[metric] for metric in metrics]
        else:
            items = list(returned) if isinstance(returned, (list, tuple)) else [returned]
        if len(items) != n:
            raise TrialFailed(f"{n} values must be returned, got {len(items)}")
        try:
            values = [float(item) for item in items]
        except (TypeError, ValueError):
            raise TrialFailed(f"the task must return numbers, got {returned!r}") from None
        for name, value in zip(metrics or ["value"] * n, values, strict=True):
            if not math.isfinite(value):
                raise TrialFailed(f"{name} is {value}")
        return values if n > 1 else values[0]

    def explain(self, trial: optuna.Trial, error: Exception) -> None:
        """One line for the study; for a person, the traceback in the trial's folder."""
        line = " ".join(str(error).split())
        name = type(error).__name__
        trial.set_user_attr("failure", line if isinstance(error, TrialFailed) else f"{name}: {line}")
        try:
            folder = self.plan.folder / str(trial.number)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "failure.txt").write_text("".join(traceback.format_exception(error)))
        except OSError:
            pass  # a full disk may be the very failure; the study's line says so


def keep_composed_files(hydra_context: HydraContext) -> None:
    """Placeholder: see `_compose.py`."""
