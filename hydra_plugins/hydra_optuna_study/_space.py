"""The search space: Hydra's sweep grammar as Optuna distributions, and back as overrides of one trial."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException
from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from hydra_plugins.hydra_optuna_study._conditions import Condition
from hydra_plugins.hydra_optuna_study._refusal import refuse


@dataclass(frozen=True)
class Parameter:
    """One dimension of the space."""

    name: str  # the dotted key, the parameter's one name in Optuna, the tables and the digest
    key: str  # the same with Hydra's prefix, as in "+model.width"
    distribution: BaseDistribution
    texts: tuple[str, ...] = ()  # of a categorical: what Hydra reads, choice by choice
    condition: Condition | None = None

    def override(self, value: Any) -> str:
        """The override that gives a trial this value."""
        if isinstance(self.distribution, CategoricalDistribution):
            return f"{self.key}={self.texts[int(self.distribution.to_internal_repr(value))]}"
        return f"{self.key}={value!r}"

    @property
    def values(self) -> list[Any] | None:
        """Every value it can take, None if there is no end of them."""
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
        """One line for the digest and for people."""
        body = json.loads(distribution_to_json(self.distribution))
        facts = {k: v for k, v in body["attributes"].items() if v not in (None, False)}
        text = ", ".join(f"{k}={v}" for k, v in facts.items())
        name = body["name"].removesuffix("Distribution").lower()
        return f"{name}({text})" + (f" if {self.condition.text}" if self.condition else "")


@dataclass(frozen=True)
class Space:
    """What a study varies, each parameter after those that its condition reads, and what it fixes."""

    parameters: tuple[Parameter, ...]
    fixed: tuple[str, ...]  # overrides that every trial gets as they are

    def suggest(self, trial: Trial, read: Callable[[str], Any]) -> list[str]:
        """Sample one point; `read` gives a condition the values that are not sampled.

        Returns: the overrides of the sampled values.
        """
        values: dict[str, Any] = {}
        overrides = []
        for parameter in self.parameters:
            condition = parameter.condition
            if condition and not condition.holds(lambda n: values[n] if n in values else read(n)):
                continue
            value = _suggest(trial, parameter)
            values[parameter.name] = value
            overrides.append(parameter.override(value))
        return overrides

    def probe(self) -> list[str]:
        """The overrides of one legal point, to see whether Hydra knows every key."""
        return [p.override(_first(p.distribution)) for p in self.parameters]


def _suggest(trial: Trial, parameter: Parameter) -> Any:
    match parameter.distribution:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(parameter.name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(parameter.name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(parameter.name, low, high, step=step, log=log)
    raise TypeError(f"no way to sample {parameter.distribution}")


def _first(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    return distribution.low


def read_space(
    params: Mapping[str, Any],
    arguments: Sequence[str],
    conditions: Mapping[str, str],
    loader: ConfigLoader,
) -> Space:
    """`hydra.sweeper.params` and the command line, which wins, as one space.

    Raises: SystemExit(2) after one sentence that names the key.
    """
    lines = [f"{key}={_text(value)}" for key, value in params.items()]
    try:
        parser = OverridesParser.create(config_loader=loader)
        overrides = parser.parse_overrides([*lines, *arguments])
    except HydraException as error:
        refuse(f"hydra.sweeper.params: {' '.join(str(error).split())}")
    latest = {_name(override): override for override in overrides}
    fixed = [o.input_line or "" for o in latest.values() if not o.is_sweep_override()]
    parameters = [
        _parameter(name, override, loader)
        for name, override in latest.items()
        if override.is_sweep_override()
    ]
    return Space(tuple(_ordered(parameters, conditions)), tuple(fixed))


def _text(value: Any) -> str:
    """A YAML value as Hydra's override grammar spells it."""
    return "null" if value is None else str(value)


def _name(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _parameter(name: str, override: Override, loader: ConfigLoader) -> Parameter:
    key = override.get_key_element()
    sweep = override.value()
    texts: tuple[str, ...] = ()
    distribution: BaseDistribution
    try:
        if isinstance(sweep, RangeSweep):
            distribution = _range(sweep)
        elif isinstance(sweep, IntervalSweep):
            distribution = _interval(sweep)
        else:
            if isinstance(sweep, ChoiceSweep):
                sweep.shuffle = False  # a sampler has its own order, and a digest must not vary
            elements = list(override.sweep_iterator(transformer=Transformer.identity))
            texts = tuple(str(Transformer.str(element)) for element in elements)
            distribution = CategoricalDistribution(_choices(elements, texts))
    except ValueError as error:
        refuse(f"{name}: {error}")
    options = loader.get_group_options(name.split("@")[0])
    unknown = [text for text in texts if options and text not in options]
    if unknown:
        refuse(f"{name}: no option {unknown[0]!r} in this config group; it has {options}")
    return Parameter(name, key, distribution, texts)


def _choices(elements: Sequence[Any], texts: Sequence[str]) -> list[Any]:
    """What Optuna stores: numbers, booleans and words as they are, lists and mappings as text."""
    if not elements:
        raise ValueError("a choice needs at least one value, got none")
    if len(set(texts)) < len(texts):
        raise ValueError(f"the values of a choice must differ, got {', '.join(texts)}")
    plain = (str, int, float, bool, type(None))
    values = [e.text if isinstance(e, QuotedString) else e for e in elements]
    choices = [v if isinstance(v, plain) else t for v, t in zip(values, texts, strict=True)]
    twins = len({(type(c), c) for c in choices}) < len(choices)  # 'a b' and "a b" are one word
    if twins or len(set(choices)) < len(choices):  # 1, 1.0 and True are one value to Optuna
        return list(texts)
    return choices


def _range(sweep: RangeSweep) -> BaseDistribution:
    """`range(start, stop, step)`: the stop is left out, as Hydra and Python do."""
    assert sweep.start is not None and sweep.stop is not None
    start, stop, step = (Decimal(str(x)) for x in (sweep.start, sweep.stop, sweep.step))
    if step == 0:
        raise ValueError("a range's step must not be 0")
    count = -int((start - stop) // step)  # the ceiling of (stop - start) / step
    if count < 1:
        raise ValueError(f"a range needs at least one value, got range({start},{stop},{step})")
    last = start + (count - 1) * step
    low, high, step = min(start, last), max(start, last), abs(step)
    if any(isinstance(x, float) for x in (sweep.start, sweep.stop, sweep.step)):
        _check(float(low), float(high), "log" in sweep.tags)
        if "log" in sweep.tags:
            raise ValueError("a log scale needs an interval or whole numbers, got a float range")
        return FloatDistribution(float(low), float(high), step=float(step))
    _check(int(low), int(high), "log" in sweep.tags)
    if "log" in sweep.tags and step != 1:
        raise ValueError(f"step = 1 must hold on a log scale, got step={step}")
    return IntDistribution(int(low), int(high), step=int(step), log="log" in sweep.tags)


def _interval(sweep: IntervalSweep) -> BaseDistribution:
    """`interval(low, high)`: both ends belong to it; `int(interval(...))` gives whole numbers."""
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    assert low is not None and high is not None
    _check(low, high, log)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _check(low: float, high: float, log: bool) -> None:
    if not low <= high:
        raise ValueError(f"low <= high must hold, got low={low}, high={high}")
    if log and low <= 0:
        raise ValueError(f"low > 0 must hold on a log scale, got low={low}")


def _ordered(parameters: Iterable[Parameter], conditions: Mapping[str, str]) -> list[Parameter]:
    """Attach the conditions, and put each parameter behind those that its condition reads."""
    pending = {p.name: p for p in parameters}
    for name, text in conditions.items():
        if name in pending:  # a value fixed on the command line needs no condition
            p = pending[name]
            condition = Condition.parse(f"hydra.sweeper.conditions.{name}", text)
            pending[name] = Parameter(p.name, p.key, p.distribution, p.texts, condition)
    ordered: list[Parameter] = []
    while pending:
        ready = [p for p in pending.values() if not p.condition or not p.condition.reads & pending.keys()]
        if not ready:
            refuse(f"hydra.sweeper.conditions: {', '.join(pending)} wait for one another")
        ordered += ready
        for parameter in ready:
            del pending[parameter.name]
    return ordered
