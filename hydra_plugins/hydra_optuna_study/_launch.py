"""The app that is swept: composes its configs, launches W workers, tells two searches apart."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ._config import SweepConfig
from ._private import NO_CALLBACKS
from ._process import abort, did_you_mean, exit_with_parent, one_line
from ._space import Space
from ._worker import Worker


@dataclass(frozen=True)
class App:
    """The Hydra app that is swept: what `Sweeper.setup` was given."""

    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction

    @property
    def loader(self) -> ConfigLoader:
        """Composes configs."""
        return self.hydra_context.config_loader

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config of a job. Raises: SystemExit(2) naming the key that Hydra refuses."""
        try:
            return self.loader.load_sweep_config(self.config, list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            unknown = re.match(r"Could not override '([^']+)'", str(error))
            if not unknown:
                abort(one_line(error))
            name = unknown[1]
            abort(f"{name}: no such key in the configuration{did_you_mean(name, self.keys)}")

    @property
    def keys(self) -> list[str]:
        """The dotted names of all values."""
        plain: Any = OmegaConf.to_container(self.config, resolve=False)
        return list(_flat({key: value for key, value in plain.items() if key != "hydra"}))

    def probe(self, space: Space) -> DictConfig:
        """Compose every parameter and option once, so that Hydra rejects an unknown key now."""
        first, *_ = [self.compose([*space.fixed, *point]) for point in space.probes()]
        return first

    def with_constants(self, space: Space) -> Space:
        """The space with the values that conditions read and the study does not sample.

        Raises: SystemExit(2) naming the condition that reads what is not there, or cannot be read.
        """
        constants = {}
        varied = {parameter.name for parameter in space.parameters}
        if space.read - varied:
            composed = self.compose(space.fixed)
            options = composed.hydra.runtime.choices  # `optimizer` is the option, not its section
        for parameter in space.parameters:
            for name in sorted(parameter.reads - varied):
                value = options.get(name, OmegaConf.select(composed, name, default=...))
                if value is ...:
                    hint = did_you_mean(name, self.keys) or f"; if it is a word, write {name!r}"
                    abort(
                        f"hydra.sweeper.conditions.{parameter.name}: no key {name} in the "
                        f"configuration{hint}"
                    )
                constants[name] = value.name if isinstance(value, Enum) else value
        complete = replace(space, constants=constants)
        try:
            list(complete.probes())
        except ValueError as error:
            abort(one_line(error))
        return complete

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


def identity(sweep: SweepConfig, composed: DictConfig) -> dict[str, Any]:
    """A flat mapping of JSON values that is equal for two runs of one study.

    Args:
        composed: one point of the space. It contributes the values that are not sampled, whether a
            file or the command line sets them, except for those in `sweep.free`.
    """
    # not resolved: a date never matches
    plain = _jsonable(OmegaConf.to_container(composed, resolve=False, enum_to_str=True))
    fixed = _flat({key: value for key, value in plain.items() if key != "hydra"})
    varied = (*sweep.free, *(parameter.name for parameter in sweep.space.parameters))
    prefixes = tuple(f"{name}." for name in varied)
    return {
        **dict(sorted((p.name, p.describe()) for p in sweep.space.parameters)),
        **{k: v for k, v in sorted(fixed.items()) if not f"{k}.".startswith(prefixes)},
        "direction": list(sweep.directions),
        "metric": list(sweep.metrics),
    }


def _jsonable(value: Any) -> Any:
    """Paths and bytes of a structured config as text."""
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | None) else str(value)


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
