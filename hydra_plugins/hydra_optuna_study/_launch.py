"""One launch: W workers as W jobs of the configured Hydra launcher."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import optuna
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from ._config import SweepConfig
from ._private import NO_CALLBACKS
from ._process import exit_with_parent
from ._worker import Worker


@dataclass(frozen=True)
class App:
    """The Hydra app that is swept: what `Sweeper.setup` was given."""

    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction

    def launch(
        self, sweep: SweepConfig, study: optuna.Study, workers: int
    ) -> tuple[Exception | None, range]:
        """Run that many workers until all of them have ended.

        Returns: the first error, if any; the numbers of the workers that have certainly ended.
        """
        numbers = _worker_numbers(sweep, study, workers)
        config = _launch_config(self.config, sweep, workers)
        seed = study.user_attrs["seed"] if sweep.seed is None else sweep.seed
        context = replace(self.hydra_context, callbacks=NO_CALLBACKS)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context,
            task_function=Worker(sweep, seed, config, self.hydra_context, self.task_function),
            config=config,
        )
        if isinstance(pool := getattr(launcher, "joblib", None), dict):  # what joblib.Parallel gets
            pool |= {"initializer": exit_with_parent, "initargs": (sweep.controller.pid,)}
        # a worker is a Hydra job too; its folder holds only its log
        settings = ["hydra.output_subdir=null", "hydra.job.chdir=false"]
        jobs = [
            [*sweep.space.fixed, f"hydra.sweep.subdir=.workers/{number}", *settings]
            for number in numbers
        ]
        ended = range(0)
        try:
            returns = launcher.launch(jobs, initial_job_idx=numbers.start)
            ended = numbers
            for job in returns:
                _ = job.return_value  # raises what ended a worker
        except Exception as error:  # noqa: BLE001  # a kill breaks a pool; the study shows what is lost
            return error, ended
        return None, ended


def _worker_numbers(sweep: SweepConfig, study: optuna.Study, workers: int) -> range:
    """Reserve that many worker numbers."""
    with sweep.storage.lock():
        first = study.user_attrs.get("workers", 0)
        study.set_user_attr("workers", first + workers)
    return range(first, first + workers)


def _launch_config(config: DictConfig, sweep: SweepConfig, workers: int) -> DictConfig:
    """The config for one launch; each change is an override too, since launchers compose again."""
    config = copy.deepcopy(config)
    for node in (config.hydra.sweep, config.hydra.launcher, config.hydra.overrides.hydra):
        OmegaConf.set_readonly(node, False)  # Hydra 1.4 makes them read-only
    changes: dict[str, Any] = {"hydra.sweep.dir": str(sweep.folder)}
    if config.hydra.launcher.get("n_jobs") == -1:  # joblib: a process for each worker
        changes["hydra.launcher.n_jobs"] = workers
    for key, value in changes.items():
        OmegaConf.update(config, key, value)
        text = QuotedString(value, Quote.single).with_quotes() if isinstance(value, str) else value
        config.hydra.overrides.hydra.append(f"{key}={text}")
    return config
