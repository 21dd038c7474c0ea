"""The settings of a study, validated, as one frozen value; and what makes two studies the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ._process import Process, abort, cores, study_name, sweep_folder, this_process
from ._program import FollowUp
from ._samplers import grid_size, validate_nodes
from ._space import Space, override_lines, read_space
from ._storage import StorageLocation, find_storage, resolved


@dataclass(frozen=True)
class SweepConfig:
    """`hydra.sweeper` for one study, validated and with defaults filled in."""

    study_name: str
    n_trials: int
    workers: int
    storage: StorageLocation
    folder: Path  # absolute; trial k writes to folder / k
    space: Space
    directions: tuple[str, ...]
    metrics: tuple[str, ...]  # empty: the task returns the numbers themselves
    sampler: Mapping[str, Any] | None
    pruner: Mapping[str, Any] | None
    callback: Mapping[str, Any] | None
    max_failure_rate: float
    max_retries: int
    free: tuple[str, ...]  # sections whose overrides change no result
    dead_hosts: tuple[str, ...]  # machines that are gone for good
    seed: int | None
    controller: Process

    @property
    def stop_key(self) -> str:
        """The study's user attribute that tells the workers of this controller to stop."""
        return f"stop:{self.controller.host}:{self.controller.pid}:{self.controller.started}"


def read_sweep_config(
    settings: Mapping[str, Any], arguments: Sequence[str], config: DictConfig, loader: ConfigLoader
) -> SweepConfig:
    """Validate every key of `hydra.sweeper` and the space.

    Raises: SystemExit(2) after one sentence that names the key.
    """
    name, folder = study_name(settings["study_name"]), sweep_folder(config.hydra.sweep.dir)
    space = read_space(settings["params"], arguments, settings["conditions"], loader)
    directions = _directions(settings["direction"])
    sweep = SweepConfig(
        study_name=name,
        n_trials=_budget(settings["n_trials"], settings["sampler"], space),
        workers=_workers(settings["workers"], config),
        storage=find_storage(_address(settings, config), folder),
        folder=folder,
        space=space,
        directions=directions,
        metrics=_metrics(settings["metric"], directions),
        sampler=_node("sampler", settings["sampler"]),
        pruner=_node("pruner", settings["pruner"]),
        callback=_node("callback", settings["callback"]),
        max_failure_rate=_rate(settings["max_failure_rate"]),
        max_retries=_count("max_retries", settings["max_retries"], least=0),
        free=tuple(settings["free"]),
        dead_hosts=tuple(settings["dead_hosts"]),
        seed=settings["seed"],
        controller=this_process(),
    )
    _check_storage(sweep, settings["workers"])
    validate_nodes(sweep.sampler, sweep.pruner, space, len(directions))
    return sweep


def _check_storage(sweep: SweepConfig, workers: Any) -> None:
    if sweep.storage.is_sqlite and (sweep.workers > 1 or workers not in ("auto", 1)):
        abort(
            "hydra.sweeper.storage: SQLite can hand a queued trial to two workers, so workers = 1 "
            f"must hold, got workers={workers}; storage=null takes any number"
        )
    if sweep.storage.is_server and "CmaEsSampler" in str(sweep.sampler):
        abort(
            "hydra.sweeper.sampler: CmaEsSampler unpickles what the storage holds, so whoever may "
            "write to that database could run code here; take another sampler, or storage=null"
        )


def follow_up_config(sweep: SweepConfig, follow: FollowUp, loader: ConfigLoader) -> SweepConfig:
    """The config of the study that the callback asks for after the study of `sweep`."""
    lines = [*sweep.space.fixed, *follow.overrides, *override_lines(follow.params)]
    space = read_space({}, lines, {}, loader)  # of two lines for one key the later wins
    directions = sweep.directions if follow.direction is None else _directions(follow.direction)
    metrics = sweep.metrics if follow.metric is None else _metrics(follow.metric, directions)
    return replace(
        sweep,
        study_name=f"{sweep.study_name}-{follow.suffix}",
        folder=sweep.folder / follow.suffix,
        space=space,
        n_trials=_budget(follow.n_trials, follow.sampler, space),
        directions=directions,
        metrics=metrics,
        sampler=_node("sampler", follow.sampler),
        pruner=_node("pruner", follow.pruner),
    )


def _address(settings: Mapping[str, Any], config: DictConfig) -> str | None:
    """`hydra.sweeper.storage`, its references to environment variables as they are.

    So no process writes down what they stand for, and each looks it up itself.
    """
    plain: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    try:
        resolved(str(plain["storage"]))
    except OmegaConfBaseException:  # it refers to the configuration, too
        return None if settings["storage"] is None else str(settings["storage"])
    return None if plain["storage"] is None else str(plain["storage"])


def _node(key: str, node: Any) -> Mapping[str, Any] | None:
    """A `_target_` node as plain containers."""
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if plain is not None and not (isinstance(plain, Mapping) and "_target_" in plain):
        abort(f"hydra.sweeper.{key}: a node with a _target_ must be given, got {plain}")
    return plain


def _budget(n_trials: Any, sampler: Any, space: Space) -> int:
    size = grid_size(sampler, space)
    if n_trials is None:
        if size is None:
            abort("hydra.sweeper.n_trials: a number must be given unless the sampler is a grid")
        return size
    count = _count("n_trials", n_trials, least=1)
    return count if size is None else min(count, size)


def _count(key: str, value: Any, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        abort(f"hydra.sweeper.{key}: {key} >= {least} must hold, got {key}={value}")
    return value


def _workers(value: Any, config: DictConfig) -> int:
    workers = cores() if value == "auto" else value
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        abort(f"hydra.sweeper.workers: auto or workers >= 1 must hold, got workers={value}")
    serial = str(config.hydra.launcher._target_).endswith("BasicLauncher")
    return 1 if serial else workers  # it runs jobs one after another


def _directions(value: Any) -> tuple[str, ...]:
    directions = (value,) if isinstance(value, str) else tuple(value)
    for direction in directions or ("an empty list",):
        if direction not in ("minimize", "maximize"):
            abort(f"hydra.sweeper.direction: minimize or maximize must be given, got {direction}")
    return directions


def _metrics(value: Any, directions: tuple[str, ...]) -> tuple[str, ...]:
    metrics = () if value is None else (value,) if isinstance(value, str) else tuple(value)
    if metrics and len(metrics) != len(directions):
        abort(
            "hydra.sweeper.metric: a metric for each direction must be given, got "
            f"{len(metrics)} metrics and {len(directions)} directions"
        )
    return metrics


def _rate(value: Any) -> float:
    rate = float(value)
    if not 0 <= rate <= 1:  # nan is not, either
        abort(
            "hydra.sweeper.max_failure_rate: 0 <= max_failure_rate <= 1 must hold, "
            f"got max_failure_rate={value}"
        )
    return rate


def identity(sweep: SweepConfig, composed: DictConfig) -> dict[str, Any]:
    """A flat mapping of JSON values that is equal for two runs of one study.

    Args:
        composed: one point of the space. It contributes the values that are not sampled, whether a
            file or the command line sets them, except for those in `sweep.free`.
    """
    plain: Any = OmegaConf.to_container(composed, resolve=False)  # a resolved date never matches
    fixed = _flat({key: value for key, value in plain.items() if key != "hydra"})
    varied = (*sweep.free, *(parameter.name for parameter in sweep.space.parameters))
    prefixes = tuple(f"{name}." for name in varied)
    return {
        **dict(sorted((p.name, p.describe()) for p in sweep.space.parameters)),
        **{k: v for k, v in sorted(fixed.items()) if not f"{k}.".startswith(prefixes)},
        "direction": list(sweep.directions),
        "metric": list(sweep.metrics),
    }


def _flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def difference(stored: dict[str, Any], given: dict[str, Any]) -> str:
    """The first key that differs, with both values, and the number of others; empty if none."""
    before, after = (
        {key: json.dumps(value, sort_keys=True) for key, value in side.items()}
        for side in (stored, given)
    )
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    if not keys:
        return ""
    was, now = (_text(values.get(keys[0], "absent")) for values in (stored, given))
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return f"{keys[0]} was {was}, is {now}{more}"


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
