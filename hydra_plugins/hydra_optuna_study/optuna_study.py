"""The module that Hydra scans at start-up: the config node and the plugin, no heavy import."""

# No postponed annotations here: Hydra 1.3 executes this file before it is in sys.modules, where
# dataclasses would look them up.

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class OptunaStudyConf:
    """`hydra/sweeper=optuna_study`; `_config.py` reads every key, and checks it in one sentence."""

    _target_: str = "hydra_plugins.hydra_optuna_study.optuna_study.OptunaStudySweeper"
    _recursive_: bool = False  # nested nodes stay nodes, on Hydra 1.3 as on 1.4
    study_name: Any = "study"
    n_trials: Any = 20  # finished trials of the study in all; null: the whole grid
    workers: Any = "auto"  # an int, or auto: one per core
    storage: Any = None  # a path, sqlite:///..., postgresql://...; null: in sweep.dir
    direction: Any = "minimize"  # or maximize; a list for several objectives
    metric: Any = None  # key in the mapping that the task returns; null: it returns numbers
    sampler: Any = None  # a `_target_` node; null: Optuna's default
    pruner: Any = None  # a `_target_` node; null: no pruning
    params: Any = field(default_factory=dict)  # dotted key: a Hydra sweep, or a value
    conditions: Any = field(default_factory=dict)  # dotted key: "other.key > 2"
    max_failure_rate: Any = 1.0  # of the finished trials; above it the study stops
    max_retries: Any = 2  # times that a trial whose worker died is tried again
    retry_failed: Any = False  # run the failed trials of the study again, once
    free: Any = field(default_factory=list)  # sections outside of the study's identity
    dead_hosts: Any = field(default_factory=list)  # machines that are gone for good
    seed: Any = None  # worker k samples with seed + k; null: drawn once per study
    callback: Any = None  # a `_target_` node of a `StudyCallback`


class OptunaStudySweeper(Sweeper):
    """Runs W workers through the configured launcher, each a loop of trials on one shared study."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra passes; passwords in it are hidden before anything is written."""
        from ._program import hide_passwords

        hide_passwords(config)
        self.app = (config, hydra_context, task_function)

    def sweep(self, arguments: list[str]) -> Any:
        """Run, resume or join the study; returns it. `arguments`: overrides of the command line."""
        # importing Optuna takes half a second, and every start of Hydra imports this file
        from ._controller import run_sweep
        from ._launch import App

        return run_sweep(self.settings, arguments, App(*self.app))


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="optuna_study",
    node=OptunaStudyConf,
    provider="hydra_optuna_study",
)
