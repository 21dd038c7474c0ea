"""The search space: parameters with distributions and conditions; sampled values as overrides."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException
from optuna import Trial
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from ._grammar import Condition, Distribution, distribution_of
from ._process import abort, did_you_mean, one_line

MAX_PROBED = 10_000  # points among which probes are chosen
Point = Mapping[str, Any]  # the sampled values


@dataclass(frozen=True)
class Parameter:
    """One dimension of the space."""

    name: str  # the dotted key; its name in Optuna, in tables and in the study's identity
    key: str  # the same with Hydra's prefix, as in "+model.width"
    distribution: Distribution
    texts: tuple[str, ...] = ()  # of a categorical: its choices as Hydra's text
    condition: Condition | None = None
    is_group: bool = False  # its values are files of a config group

    def suggest(self, trial: Trial) -> Any:
        """Sample a value."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return trial.suggest_categorical(self.name, choices)
            case IntDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_int(self.name, low, high, step=step, log=log)
            case FloatDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_float(self.name, low, high, step=step, log=log)

    @property
    def reads(self) -> frozenset[str]:
        """The names in its condition."""
        return self.condition.names if self.condition else frozenset()

    def override(self, value: Any) -> str:
        """The override that sets this value in a trial's config."""
        if isinstance(self.distribution, CategoricalDistribution):
            return f"{self.key}={self.texts[int(self.distribution.to_internal_repr(value))]}"
        return f"{self.key}={value!r}"

    @property
    def size(self) -> float:
        """Number of values it can take; infinite for an interval."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return len(choices)
            case IntDistribution(low=low, high=high, step=step):
                return (high - low) // step + 1
            case FloatDistribution(low=low, high=high, step=float(step)):
                return int((Decimal(str(high)) - Decimal(str(low))) / Decimal(str(step))) + 1
            case FloatDistribution(low=low, high=high):
                return 1 if low == high else math.inf

    @property
    def values(self) -> Iterator[Any]:
        """Every value it can take; of an interval both ends."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                yield from choices
            case IntDistribution(low=low, high=high, step=step):
                yield from range(low, high + 1, step)
            case FloatDistribution(low=low, step=float(step)):
                first, width = Decimal(str(low)), Decimal(str(step))
                yield from (float(first + k * width) for k in range(int(self.size)))
            case FloatDistribution(low=low, high=high):
                yield from {low: None, high: None}

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
    constants: Mapping[str, Any] = field(default_factory=dict)  # composed values for conditions

    def suggest(self, trial: Trial) -> list[str]:
        """Sample the parameters whose conditions hold; returns their overrides."""
        point: dict[str, Any] = {}
        for parameter in self.parameters:
            if self._applies(parameter, point):
                point[parameter.name] = parameter.suggest(trial)
        return self._overrides(point)

    def _overrides(self, point: Point) -> list[str]:
        return [p.override(point[p.name]) for p in self.parameters if p.name in point]

    def points(self, most: Callable[[Parameter], int | None] = lambda _: None) -> Iterator[Point]:
        """All points that differ in what is sampled; of an interval both ends.

        Args:
            most: how many of a parameter's values are taken; None for all.
        """
        points: Iterator[Point] = iter([{}])
        for parameter in self.parameters:
            points = self._extended(points, parameter, most(parameter))
        return points

    def _extended(self, points: Iterator[Point], p: Parameter, most: int | None) -> Iterator[Point]:
        for point in points:
            if self._applies(p, point):
                yield from ({**point, p.name: value} for value in islice(p.values, most))
            else:
                yield point

    def _applies(self, parameter: Parameter, point: Point) -> bool:
        if parameter.condition is None:
            return True
        try:
            return parameter.condition.holds({**self.constants, **point}.get)
        except ValueError as error:
            raise ValueError(f"hydra.sweeper.conditions.{parameter.name}: {error}") from None

    def size(self, limit: int) -> float:
        """Number of different points; whatever exceeds `limit` may be returned as `limit`."""
        apart = [p for p in self.parameters if not (p.condition or p.name in self.read)]
        count = math.prod(p.size for p in apart)
        together = replace(self, parameters=tuple(p for p in self.parameters if p not in apart))
        if any(p.size == math.inf for p in together.parameters):
            return math.inf
        return count * sum(1 for _ in islice(together.points(), limit))

    @property
    def read(self) -> set[str]:
        """The names in all conditions."""
        return {name for parameter in self.parameters for name in parameter.reads}

    def probes(self) -> Iterator[list[str]]:
        """Overrides of a few points in which every parameter and option of a group occurs."""
        groups = {p.name for p in self.parameters if p.is_group}
        many = groups | self.read
        points = list(islice(self.points(lambda p: None if p.name in many else 1), MAX_PROBED))
        covers = [{(k, v if k in groups else None) for k, v in point.items()} for point in points]
        missing = set[tuple[str, Any]]().union(*covers)
        while True:
            best = max(range(len(points)), key=lambda k: len(covers[k] & missing))
            yield self._overrides(points[best])
            missing -= covers[best]
            if not missing:
                return


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
    for override in overrides:
        _check_group(override, loader)
    latest = {o.get_key_element().lstrip("+~"): o for o in overrides}
    fixed = [o.input_line or "" for o in latest.values() if not o.is_sweep_override()]
    swept = {name: o for name, o in latest.items() if o.is_sweep_override()}
    parameters = [_parameter(name, override, loader) for name, override in swept.items()]
    for name in conditions.keys() - latest.keys():
        rule = f"hydra.sweeper.conditions.{name}: no such parameter in hydra.sweeper.params"
        abort(rule + did_you_mean(name, latest))
    return Space(tuple(_ordered(parameters, conditions)), tuple(fixed))


def override_lines(params: Mapping[str, Any]) -> list[str]:
    """YAML's `key: value` as lines of Hydra's override grammar."""
    return [f"{key}={'null' if value is None else value}" for key, value in params.items()]


def _check_group(override: Override, loader: ConfigLoader) -> None:
    """Hydra itself has a traceback for `optimizer=null`."""
    group = override.key_or_group
    options = loader.get_group_options(group)
    if options and not override.is_sweep_override() and not override.is_delete():
        value = override.value()
        if not isinstance(value, str | QuotedString | list):
            names = ", ".join(options)
            abort(f"{group}: one of its options must be given ({names}), got {override.input_line}")


def _parameter(name: str, override: Override, loader: ConfigLoader) -> Parameter:
    try:
        distribution, texts = distribution_of(override)
    except ValueError as error:
        abort(f"{name}: {error}")
    options = loader.get_group_options(name.partition("@")[0])
    unknown = [text for text in texts if options and text not in options]
    if unknown:
        abort(f"{name}: no option {unknown[0]!r} in this config group; it has {options}")
    is_group = bool(options)
    return Parameter(name, override.get_key_element(), distribution, texts, is_group=is_group)


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
