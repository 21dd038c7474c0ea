"""The search space: parameters with distributions and conditions; sampled values as overrides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from optuna import Trial
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from ._grammar import Condition, Distribution, distribution_of
from ._process import abort, one_line


@dataclass(frozen=True)
class Parameter:
    """One dimension of the space."""

    name: str  # the dotted key; its name in Optuna, in tables and in the study's identity
    key: str  # the same with Hydra's prefix, as in "+model.width"
    distribution: Distribution
    texts: tuple[str, ...] = ()  # of a categorical: its choices as Hydra's text
    condition: Condition | None = None

    def suggest(self, trial: Trial) -> Any:
        """Sample a value."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return trial.suggest_categorical(self.name, choices)
            case IntDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_int(self.name, low, high, step=step, log=log)
            case FloatDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_float(self.name, low, high, step=step, log=log)

    def override(self, value: Any) -> str:
        """The override that sets this value in a trial's config."""
        if isinstance(self.distribution, CategoricalDistribution):
            return f"{self.key}={self.texts[int(self.distribution.to_internal_repr(value))]}"
        return f"{self.key}={value!r}"

    @property
    def first(self) -> Any:
        """One valid value."""
        if isinstance(self.distribution, CategoricalDistribution):
            return self.distribution.choices[0]
        return self.distribution.low

    @property
    def values(self) -> list[Any] | None:
        """Every value it can take; None for an interval."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return list(choices)
            case IntDistribution(low=low, high=high, step=step):
                return list(range(low, high + 1, step))
            case FloatDistribution(low=low, high=high, step=float(step)):
                first, last, width = Decimal(str(low)), Decimal(str(high)), Decimal(str(step))
                return [float(first + k * width) for k in range(int((last - first) / width) + 1)]
        return None

    def describe(self) -> str:
        """One line for the study's identity and for error messages."""
        body = json.loads(distribution_to_json(self.distribution))
        facts = {k: v for k, v in body["attributes"].items() if v is not None and v is not False}
        text = ", ".join(f"{k}={v}" for k, v in facts.items())
        name = body["name"].removesuffix("Distribution").lower()
        return f"{name}({text})" + (f" if {self.condition.text}" if self.condition else "")


@dataclass(frozen=True)
class Space:
    """What a study varies and what it fixes."""

    parameters: tuple[Parameter, ...]  # each after those that its condition reads
    fixed: tuple[str, ...]  # overrides of every trial

    def suggest(self, trial: Trial, read: Callable[[str], Any]) -> list[str]:
        """Sample one point; `read` gives conditions the values that are not sampled.

        Returns: the overrides of the sampled values.
        """
        values: dict[str, Any] = {}
        overrides = []
        for parameter in self.parameters:
            condition = parameter.condition
            if condition and not condition.holds(lambda n: values[n] if n in values else read(n)):
                continue
            value = parameter.suggest(trial)
            values[parameter.name] = value
            overrides.append(parameter.override(value))
        return overrides

    def probe(self) -> list[str]:
        """The overrides of one valid point, to check that Hydra knows every key."""
        return [p.override(p.first) for p in self.parameters]


def read_space(
    params: Mapping[str, Any],
    arguments: Sequence[str],
    conditions: Mapping[str, str],
    loader: ConfigLoader,
) -> Space:
    """`hydra.sweeper.params`, overridden by the command line, as one space.

    Raises: SystemExit(2) after one sentence that names the key.
    """
    try:
        parser = OverridesParser.create(config_loader=loader)
        overrides = parser.parse_overrides([*override_lines(params), *arguments])
    except HydraException as error:
        abort(f"hydra.sweeper.params: {one_line(error)}")
    latest = {o.get_key_element().lstrip("+~"): o for o in overrides}
    fixed = [o.input_line or "" for o in latest.values() if not o.is_sweep_override()]
    swept = {name: o for name, o in latest.items() if o.is_sweep_override()}
    parameters = [_parameter(name, override, loader) for name, override in swept.items()]
    return Space(tuple(_ordered(parameters, conditions)), tuple(fixed))


def override_lines(params: Mapping[str, Any]) -> list[str]:
    """YAML's `key: value` as lines of Hydra's override grammar."""
    return [f"{key}={'null' if value is None else value}" for key, value in params.items()]


def _parameter(name: str, override: Override, loader: ConfigLoader) -> Parameter:
    try:
        distribution, texts = distribution_of(override)
    except ValueError as error:
        abort(f"{name}: {error}")
    options = loader.get_group_options(name.partition("@")[0])
    unknown = [text for text in texts if options and text not in options]
    if unknown:
        abort(f"{name}: no option {unknown[0]!r} in this config group; it has {options}")
    return Parameter(name, override.get_key_element(), distribution, texts)


def _ordered(parameters: Iterable[Parameter], conditions: Mapping[str, str]) -> list[Parameter]:
    """Attach the conditions, and put each parameter after those that its condition reads."""
    named = {p.name: p for p in parameters}
    order = TopologicalSorter[str](dict.fromkeys(named, ()))
    for name, parameter in named.items():
        if name in conditions:
            condition = Condition.parse(f"hydra.sweeper.conditions.{name}", conditions[name])
            named[name] = replace(parameter, condition=condition)
            order.add(name, *condition.names & named.keys())
    try:
        order.prepare()
    except CycleError as error:
        circle = ", ".join(name for name in named if name in error.args[1])
        abort(f"hydra.sweeper.conditions: {circle} wait for one another")
    ordered: list[Parameter] = []
    while order.is_active():
        ready = sorted(order.get_ready(), key=list(named).index)  # a seed draws in declared order
        ordered += [named[name] for name in ready]
        order.done(*ready)
    return ordered
