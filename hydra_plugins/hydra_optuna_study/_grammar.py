"""What users write: Hydra's sweeps as Optuna distributions, and conditions between parameters."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ._process import abort

Distribution = CategoricalDistribution | IntDistribution | FloatDistribution


def distribution_of(override: Override) -> tuple[Distribution, tuple[str, ...]]:
    """One sweep of Hydra's grammar as a distribution; for a choice also its values as Hydra's text.

    Raises: ValueError with the rule and the values that break it.
    """
    sweep = override.value()
    _check_tags(sweep, override.input_line or "")
    if isinstance(sweep, RangeSweep):
        return _range(sweep), ()
    if isinstance(sweep, IntervalSweep):
        return _interval(sweep), ()
    if isinstance(sweep, ChoiceSweep):
        sweep.shuffle = False  # the sampler decides the order; the identity must not depend on it
    elements = list(override.sweep_iterator(transformer=Transformer.identity))
    texts = tuple(str(Transformer.str(element)) for element in elements)
    return CategoricalDistribution(_choices(elements, texts)), texts


def _check_tags(sweep: Any, text: str) -> None:
    """The one tag that means something is `log`, on numbers."""
    tags = sorted(getattr(sweep, "tags", ()))
    for tag in tags:
        if tag != "log":
            spelt = "; did you mean tag(log, ...)?" if "log" in tag.lower() else ""
            raise ValueError(f"the one tag is log, got tag({tag}, ...){spelt}")
    if tags and isinstance(sweep, ChoiceSweep):
        raise ValueError("a log scale needs an interval or a range, got a choice")
    if "tag(" in text and not tags and isinstance(sweep, RangeSweep):  # Hydra 1.3 drops it
        raise ValueError("a cast drops the tag of a range; write tag(log, int(range(...)))")


def _choices(elements: Sequence[Any], texts: Sequence[str]) -> list[Any]:
    """What Optuna stores: numbers, booleans and strings as they are, lists and mappings as text."""
    if not elements:
        raise ValueError("a choice needs at least one value, got none")
    if len(set(texts)) < len(texts):
        raise ValueError(f"the values of a choice must differ, got {', '.join(texts)}")
    plain = (str, int, float, bool, type(None))
    values = [e.text if isinstance(e, QuotedString) else e for e in elements]
    choices = [v if isinstance(v, plain) else t for v, t in zip(values, texts, strict=True)]
    if len(set(choices)) < len(choices):  # 1 == 1.0 == True, also for Optuna; 'a b' is "a b"
        return list(texts)
    return choices


def _range(sweep: RangeSweep) -> Distribution:
    """`range(start, stop, step)`, without `stop`, as in Hydra and Python."""
    given = (sweep.start, sweep.stop, sweep.step)  # Hydra 1.4 makes decimals of a sorted range
    number = float if any(isinstance(x, float | Decimal) for x in given) else int
    for cast in getattr(sweep, "transformers", ()):  # of Hydra 1.4; 1.3 casts the three bounds
        number = type(cast(1))
    start, stop, step = (Decimal(str(x)) for x in given)
    if step == 0:
        raise ValueError("a range's step must not be 0")
    count = math.ceil((stop - start) / step)
    if count < 1:
        raise ValueError(f"a range needs at least one value, got range({start},{stop},{step})")
    last = start + (count - 1) * step
    low, high, step = min(start, last), max(start, last), abs(step)
    log = "log" in sweep.tags
    if number is float:
        if log:
            raise ValueError("a log scale needs an interval or whole numbers, got a float range")
        return FloatDistribution(float(low), float(high), step=float(step))
    if step != int(step):
        raise ValueError(f"the step of a range of whole numbers must be whole, got step={step}")
    _check(int(low), int(high), log)
    if log and step != 1:
        raise ValueError(f"step = 1 must hold on a log scale, got step={step}")
    return IntDistribution(int(low), int(high), step=int(step), log=log)


def _interval(sweep: IntervalSweep) -> Distribution:
    """`interval(low, high)` with both ends; `int(interval(...))` gives whole numbers."""
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    assert low is not None
    assert high is not None
    _check(low, high, log)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _check(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"bounds must be finite, got low={low}, high={high}")
    if not low <= high:
        raise ValueError(f"low <= high must hold, got low={low}, high={high}")
    if log and low <= 0:
        raise ValueError(f"low > 0 must hold on a log scale, got low={low}")


_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}


@dataclass(frozen=True)
class Condition:
    """When a parameter is sampled, as in `model.depth > 2 and name == "sgd"`; never `eval`.

    A parameter that is not sampled keeps the value of the composed config.
    """

    text: str
    names: frozenset[str]  # the dotted names in it

    @classmethod
    def parse(cls, key: str, text: str) -> Condition:
        """Raises: SystemExit(2) after one sentence that names `key`."""
        try:
            names: list[str] = []
            _evaluate(ast.parse(text, mode="eval").body, names.append, dry=True)
        # TypeError: no text; KeyError: no such comparison
        except (SyntaxError, TypeError, ValueError, KeyError):
            abort(
                f"{key}: a condition compares dotted names with values by < <= > >= == != in, "
                f"not in, and, or, not; got {text!r}"
            )
        return cls(text, frozenset(names))

    def holds(self, read: Callable[[str], Any]) -> bool:
        """Evaluate it; `read` gives the value of a dotted name.

        Raises: ValueError if it compares what has no order, `null < 3` say.
        """
        try:
            return bool(_evaluate(ast.parse(self.text, mode="eval").body, read, dry=False))
        except TypeError as error:
            raise ValueError(f"{self.text!r} cannot be decided: {error}") from None


_WORDS = {"true": True, "false": False, "null": None}  # as Hydra spells them


def _evaluate(  # noqa: PLR0911  # one return for each kind of expression
    node: ast.expr, read: Callable[[str], Any], *, dry: bool
) -> Any:
    """The value of an expression; `dry` visits every branch without comparing, to check it."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            name = ast.unparse(node)
            if name.replace(".", "_").isidentifier():  # no attribute of a call
                return _WORDS[name] if name in _WORDS else read(name)
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return [_evaluate(item, read, dry=dry) for item in items]
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _evaluate(inner, read, dry=dry)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.BoolOp(op=op, values=parts):
            results = (bool(_evaluate(part, read, dry=dry)) for part in parts)
            if dry:
                return len(list(results))
            return all(results) if isinstance(op, ast.And) else any(results)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            values = [_evaluate(side, read, dry=dry) for side in (left, *rights)]
            tests = [_COMPARE[type(op)] for op in ops]
            pairs = zip(tests, values, values[1:], strict=False)
            return dry or all(test(a, b) for test, a, b in pairs)
    raise ValueError("no such expression")
