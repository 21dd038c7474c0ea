"""One launch: W workers as W jobs of whichever Hydra launcher is configured."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import optuna
from hydra._internal.callbacks import Callbacks
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_optuna_study._config import Plan
from hydra_plugins.hydra_optuna_study._watchdog import end_with
from hydra_plugins.hydra_optuna_study._worker import Worker


@dataclass(frozen=True)
class App:
    """The Hydra app that is swept: what `Sweeper.setup` was given."""

    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction

    def launch(
        self, plan: Plan, study: optuna.Study, workers: int
    ) -> tuple[Exception | None, range]:
        """Run that many workers until all of them ended.

        Returns: the first error, if any; the numbers of the workers that surely work no more.
        """
        first = _worker_numbers(plan, study, workers)
        config = _launch_config(self.config, plan, workers)
        seed = study.user_attrs["seed"] if plan.seed is None else plan.seed
        # the configured callbacks are told of trials, not of workers
        context = HydraContext(self.hydra_context.config_loader, Callbacks())
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context,
            task_function=Worker(plan, seed, config, self.hydra_context, self.task_function),
            config=config,
        )
        if isinstance(pool := getattr(launcher, "joblib", None), dict):  # what joblib.Parallel gets
            pool |= {"initializer": end_with, "initargs": (plan.controller.pid,)}
        jobs = [[*plan.space.fixed, *_worker_overrides(first + k)] for k in range(workers)]
        ended = range(0)
        try:
            returns = launcher.launch(jobs, initial_job_idx=first)
            ended = range(first, first + workers)
            for job in returns:
                _ = job.return_value  # raises what ended a worker
        except Exception as error:  # noqa: BLE001  # a kill breaks a pool; the books tell what is lost
            return error, ended
        return None, ended


def _worker_numbers(plan: Plan, study: optuna.Study, workers: int) -> int:
    """The first of that many numbers which no worker of the study had before."""
    with plan.place.lock():
        first: int = study.user_attrs.get("workers", 0)
        study.set_user_attr("workers", first + workers)
    return first


def _worker_overrides(number: int) -> list[str]:
    """A worker is a Hydra job beside the trials' jobs; it has a folder for its log only."""
    folder = f"hydra.sweep.subdir=.workers/{number}"
    return [folder, "hydra.output_subdir=null", "hydra.job.chdir=false"]


def _launch_config(config: DictConfig, plan: Plan, workers: int) -> DictConfig:
    """The sweep's config for one launch; what differs is an override too, for each composed job."""
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
