"""One sweep of Hydra's grammar as one Optuna distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)


def distribution_of(override: Override) -> tuple[BaseDistribution, tuple[str, ...]]:
    """The distribution; of a choice also what Hydra reads, value by value.

    Raises: ValueError with the rule and the facts.
    """
    sweep = override.value()
    if isinstance(sweep, RangeSweep):
        return _range(sweep), ()
    if isinstance(sweep, IntervalSweep):
        return _interval(sweep), ()
    if isinstance(sweep, ChoiceSweep):
        sweep.shuffle = False  # a sampler has its own order, and a digest must not vary
    elements = list(override.sweep_iterator(transformer=Transformer.identity))
    texts = tuple(str(Transformer.str(element)) for element in elements)
    return CategoricalDistribution(_choices(elements, texts)), texts


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
    assert sweep.start is not None
    assert sweep.stop is not None
    start, stop, step = (Decimal(str(x)) for x in (sweep.start, sweep.stop, sweep.step))
    if step == 0:
        raise ValueError("a range's step must not be 0")
    count = math.ceil((stop - start) / step)
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
    assert low is not None
    assert high is not None
    _check(low, high, log)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _check(low: float, high: float, log: bool) -> None:
    if not low <= high:
        raise ValueError(f"low <= high must hold, got low={low}, high={high}")
    if log and low <= 0:
        raise ValueError(f"low > 0 must hold on a log scale, got low={low}")
