"""The settings of a study, validated, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ._process import (
    Process,
    abort,
    cores,
    did_you_mean,
    study_name,
    sweep_folder,
    this_process,
)
from ._program import FollowUp
from ._samplers import budget, validate_nodes
from ._space import Space, override_lines, read_space
from ._storage import StorageLocation, find_storage, resolved

if TYPE_CHECKING:
    from ._launch import App


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
    retry_failed: bool
    free: tuple[str, ...]  # sections whose overrides change no result
    dead_hosts: tuple[str, ...]  # machines that are gone for good
    seed: int | None
    controller: Process

    @property
    def stop_key(self) -> str:
        """The study's user attribute that tells the workers of this controller to stop."""
        return f"stop:{self.controller.host}:{self.controller.pid}:{self.controller.started}"


def read_sweep_config(
    settings: Mapping[str, Any], arguments: Sequence[str], app: App
) -> SweepConfig:
    """Validate every key of `hydra.sweeper` and the space.

    Raises: SystemExit(2) after one sentence that names the key.
    """
    given = _plain(settings)
    folder = sweep_folder(app.config.hydra.sweep.dir)
    params, conditions = (_mapping(key, given[key]) for key in ("params", "conditions"))
    space = app.with_constants(read_space(params, arguments, conditions, app.loader))
    directions = _directions(given["direction"])
    sampler = _node("sampler", given["sampler"])
    n_trials = None if given["n_trials"] is None else _count("n_trials", given["n_trials"], least=1)
    sweep = SweepConfig(
        study_name=study_name(given["study_name"]),
        n_trials=budget(n_trials, sampler, space),
        workers=_workers(given["workers"], app.config),
        storage=find_storage(_address(given["storage"], app.config), folder),
        folder=folder,
        space=space,
        directions=directions,
        metrics=_metrics(given["metric"], directions),
        sampler=sampler,
        pruner=_node("pruner", given["pruner"]),
        callback=_node("callback", given["callback"]),
        max_failure_rate=_rate(given["max_failure_rate"]),
        max_retries=_count("max_retries", given["max_retries"], least=0),
        retry_failed=_flag("retry_failed", given["retry_failed"]),
        free=_texts("free", given["free"]),
        dead_hosts=_texts("dead_hosts", given["dead_hosts"]),
        seed=_seed("seed", given["seed"]),
        controller=this_process(),
    )
    if sweep.storage.is_sqlite and (sweep.workers > 1 or given["workers"] not in ("auto", 1)):
        abort(
            "hydra.sweeper.storage: SQLite can hand a queued trial to two workers, so workers = 1 "
            f"must hold, got workers={given['workers']}; storage=null takes any number"
        )
    validate_nodes(sweep.sampler, sweep.pruner, space, len(directions))
    if sweep.storage.is_server and "CmaEsSampler" in str(sweep.sampler):
        abort(
            "hydra.sweeper.sampler: CmaEsSampler unpickles what the storage holds, so whoever may "
            "write to that database could run code here; take another sampler, or storage=null"
        )
    if n_trials and (size := space.size(n_trials)) < n_trials:
        rest = "some are tried twice" if sweep.n_trials == n_trials else "each is tried once"
        print(f"n_trials={n_trials} is more than the {size} points of the space: {rest}")
    return sweep


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as plain containers, their names known."""
    from .optuna_study import OptunaStudyConf

    known = [key for key in OptunaStudyConf.__dataclass_fields__ if not key.startswith("_")]
    for key in settings:
        if key not in known:
            ours = _OFFICIAL.get(key)
            hint = f"; it is called {ours} here" if ours else did_you_mean(key, known)
            abort(f"hydra.sweeper.{key}: no such key{hint}")
    return {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in settings.items()
    }


_OFFICIAL = {  # keys of Hydra's own Optuna sweeper
    "n_jobs": "hydra.sweeper.workers",
    "search_space": "hydra.sweeper.params",
    "custom_search_space": "hydra.sweeper.conditions",
}


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
        n_trials=budget(follow.n_trials, follow.sampler, space),
        directions=directions,
        metrics=metrics,
        sampler=_node("sampler", follow.sampler),
        pruner=_node("pruner", follow.pruner),
    )


def _address(value: Any, config: DictConfig) -> str | None:
    """`hydra.sweeper.storage`, its references to environment variables as they are.

    So no process writes down what they stand for, and each looks it up itself.
    """
    if value is not None and not isinstance(value, str):
        abort(f"hydra.sweeper.storage: a path or an address must be given, got storage={value}")
    plain: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    try:
        resolved(str(plain["storage"]))
    except OmegaConfBaseException:  # it refers to the configuration, too
        return value
    return None if value is None else str(plain["storage"])


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        abort(f"hydra.sweeper.{key}: true or false must be given, got {key}={value}")
    return value


def _node(key: str, node: Any) -> Mapping[str, Any] | None:
    if node is None:
        return None
    if not (isinstance(node, Mapping) and isinstance(node.get("_target_"), str)):
        abort(f"hydra.sweeper.{key}: a node with a _target_ must be given, got {node}")
    _seed(f"{key}.seed", node.get("seed"))
    return node


def _count(key: str, value: Any, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        rule = f"{key} >= {least} must hold, in whole numbers"
        abort(f"hydra.sweeper.{key}: {rule}, got {key}={value}")
    return value


def _seed(key: str, value: Any) -> int | None:
    """A seed leaves room for the numbers of workers below NumPy's limit of 2**32."""
    if value is not None and (type(value) is not int or not 0 <= value < 2**31):
        rule = f"0 <= seed < {2**31} must hold, in whole numbers"
        abort(f"hydra.sweeper.{key}: {rule}, got seed={value}")
    return value


def _mapping(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        abort(f"hydra.sweeper.{key}: a mapping of dotted keys must be given, got {value}")
    return value


def _texts(key: str, value: Any) -> tuple[str, ...]:
    """A word, or a list of words."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        abort(f"hydra.sweeper.{key}: a word, or a list of words, must be given, got {value}")
    return tuple(texts)


def _workers(value: Any, config: DictConfig) -> int:
    workers = cores() if value == "auto" else value
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        abort(f"hydra.sweeper.workers: auto or workers >= 1 must hold, got workers={value}")
    serial = str(config.hydra.launcher._target_).endswith("BasicLauncher")
    return 1 if serial else workers  # it runs jobs one after another


def _directions(value: Any) -> tuple[str, ...]:
    directions = _texts("direction", value)
    for direction in directions or ("an empty list",):
        if direction not in ("minimize", "maximize"):
            abort(f"hydra.sweeper.direction: minimize or maximize must be given, got {direction}")
    return directions


def _metrics(value: Any, directions: tuple[str, ...]) -> tuple[str, ...]:
    metrics = () if value is None else _texts("metric", value)
    if value is not None and len(metrics) != len(directions):
        abort(
            "hydra.sweeper.metric: a metric for each direction must be given, got "
            f"{len(metrics)} metrics and {len(directions)} directions"
        )
    return metrics


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        abort(
            "hydra.sweeper.max_failure_rate: 0 <= max_failure_rate <= 1 must hold, "
            f"got max_failure_rate={value}"
        )
    return float(value)
