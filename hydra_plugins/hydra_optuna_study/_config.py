"""The settings of a sweep, checked: one frozen value that says all a worker has to know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_optuna_study._abort import refuse
from hydra_plugins.hydra_optuna_study._callback import Search
from hydra_plugins.hydra_optuna_study._process import Process, cores, this_process
from hydra_plugins.hydra_optuna_study._samplers import check_nodes, grid_size
from hydra_plugins.hydra_optuna_study._space import Space, override_lines, read_space
from hydra_plugins.hydra_optuna_study._storage import Place, find_place


@dataclass(frozen=True)
class Plan:
    """One search of a sweep: what `hydra.sweeper` says, after the defaults are filled in."""

    study_name: str
    n_trials: int
    workers: int
    place: Place
    folder: Path  # absolute; trial k writes to folder / k
    space: Space
    directions: tuple[str, ...]
    metrics: tuple[str, ...]  # empty: the task returns the numbers themselves
    sampler: Mapping[str, Any] | None
    pruner: Mapping[str, Any] | None
    observer: Mapping[str, Any] | None
    max_failure_rate: float
    max_retries: int
    free: tuple[str, ...]  # sections whose overrides change no result
    dead_hosts: tuple[str, ...]  # machines whose workers are gone for good
    seed: int | None
    controller: Process

    @property
    def stop_key(self) -> str:
        """The study's user attribute by which this controller stops its workers."""
        return f"stop:{self.controller.host}:{self.controller.pid}:{self.controller.started}"


def read_plan(
    settings: Mapping[str, Any], arguments: Sequence[str], config: DictConfig, loader: ConfigLoader
) -> Plan:
    """Check every key of `hydra.sweeper` and the space.

    Raises: SystemExit(2) after one sentence that names the key.
    """
    folder = Path(str(config.hydra.sweep.dir)).absolute()
    space = read_space(settings["params"], arguments, settings["conditions"], loader)
    directions = _directions(settings["direction"])
    plan = Plan(
        study_name=str(settings["study_name"]),
        n_trials=_budget(settings["n_trials"], settings["sampler"], space),
        workers=_workers(settings["workers"], config),
        place=find_place(settings["storage"], folder),
        folder=folder,
        space=space,
        directions=directions,
        metrics=_metrics(settings["metric"], directions),
        sampler=_node("sampler", settings["sampler"]),
        pruner=_node("pruner", settings["pruner"]),
        observer=_node("observer", settings["observer"]),
        max_failure_rate=_rate(settings["max_failure_rate"]),
        max_retries=_count("max_retries", settings["max_retries"], least=0),
        free=tuple(settings["free"]),
        dead_hosts=tuple(settings["dead_hosts"]),
        seed=settings["seed"],
        controller=this_process(),
    )
    if plan.place.is_sqlite and (plan.workers > 1 or settings["workers"] not in ("auto", 1)):
        refuse(
            "hydra.sweeper.storage: SQLite can hand a queued trial to two workers, so workers = 1 "
            f"must hold, got workers={settings['workers']}; storage=null takes any number"
        )
    check_nodes(plan.sampler, plan.pruner, space, len(directions))
    return plan


def follow_up(plan: Plan, search: Search, loader: ConfigLoader) -> Plan:
    """The plan of a search that the observer asked for after `plan`'s was complete."""
    lines = [*plan.space.fixed, *search.overrides, *override_lines(search.params)]
    space = read_space({}, lines, {}, loader)  # later lines win over those of the command line
    directions = plan.directions if search.direction is None else _directions(search.direction)
    metrics = plan.metrics if search.metric is None else _metrics(search.metric, directions)
    n_trials = _budget(search.n_trials, search.sampler, space)
    return replace(
        plan,
        study_name=f"{plan.study_name}-{search.suffix}",
        folder=plan.folder / search.suffix,
        space=space,
        n_trials=n_trials,
        directions=directions,
        metrics=metrics,
        sampler=_node("sampler", search.sampler),
        pruner=_node("pruner", search.pruner),
    )


def _node(key: str, node: Any) -> Mapping[str, Any] | None:
    """A `_target_` node as plain containers."""
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if plain is not None and not (isinstance(plain, Mapping) and "_target_" in plain):
        refuse(f"hydra.sweeper.{key}: a node with a _target_ must be given, got {plain}")
    return plain


def _budget(n_trials: Any, sampler: Any, space: Space) -> int:
    size = grid_size(sampler, space)
    if n_trials is None:
        if size is None:
            refuse("hydra.sweeper.n_trials: a number must be given unless the sampler is a grid")
        return size
    count = _count("n_trials", n_trials, least=1)
    return count if size is None else min(count, size)


def _count(key: str, value: Any, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        refuse(f"hydra.sweeper.{key}: {key} >= {least} must hold, got {key}={value}")
    return value


def _workers(value: Any, config: DictConfig) -> int:
    workers = cores() if value == "auto" else value
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        refuse(f"hydra.sweeper.workers: auto or workers >= 1 must hold, got workers={value}")
    serial = str(config.hydra.launcher._target_).endswith("BasicLauncher")
    return 1 if serial else workers  # that launcher runs its jobs one after another


def _directions(value: Any) -> tuple[str, ...]:
    directions = (value,) if isinstance(value, str) else tuple(value)
    for direction in directions:
        if direction not in ("minimize", "maximize"):
            refuse(f"hydra.sweeper.direction: minimize or maximize must be given, got {direction}")
    if not directions:
        refuse("hydra.sweeper.direction: minimize or maximize must be given, got an empty list")
    return directions


def _metrics(value: Any, directions: tuple[str, ...]) -> tuple[str, ...]:
    metrics = () if value is None else (value,) if isinstance(value, str) else tuple(value)
    if metrics and len(metrics) != len(directions):
        refuse(
            "hydra.sweeper.metric: a metric for each direction must be given, got "
            f"{len(metrics)} metrics and {len(directions)} directions"
        )
    return metrics


def _rate(value: Any) -> float:
    rate = float(value)
    if not 0 <= rate <= 1 or math.isnan(rate):
        refuse(
            "hydra.sweeper.max_failure_rate: 0 <= max_failure_rate <= 1 must hold, "
            f"got max_failure_rate={value}"
        )
    return rate
