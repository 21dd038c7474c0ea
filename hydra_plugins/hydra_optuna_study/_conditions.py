"""Conditions such as `model.depth > 2 and name == "sgd"`: dotted names compared, never `eval`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hydra_plugins.hydra_optuna_study._abort import refuse

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
    """When a parameter is sampled; where it is not, the composed config's value stands."""

    text: str
    reads: frozenset[str]  # the dotted names that it compares

    @classmethod
    def parse(cls, key: str, text: str) -> Condition:
        """Raises: SystemExit(2) after one sentence that names `key`."""
        try:
            names: list[str] = []
            _evaluate(ast.parse(text, mode="eval").body, names.append, dry=True)
        except (SyntaxError, ValueError):
            refuse(
                f"{key}: a condition compares dotted names with values by < <= > >= == != in, "
                f"not in, and, or, not; got {text!r}"
            )
        return cls(text, frozenset(names))

    def holds(self, read: Callable[[str], Any]) -> bool:
        """Whether it is true of the values that `read` gives for its names."""
        return bool(_evaluate(ast.parse(self.text, mode="eval").body, read, dry=False))


def _evaluate(  # noqa: PLR0911  # one return for each kind of expression
    node: ast.expr, read: Callable[[str], Any], *, dry: bool
) -> Any:
    """The value of an expression; `dry` visits every branch and compares nothing."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return read(_dotted(node))
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
            tests = [_COMPARE.get(type(op)) for op in ops]
            if None in tests:
                raise ValueError("no such comparison")
            pairs = zip(tests, values, values[1:], strict=False)
            return dry or all(test(a, b) for test, a, b in pairs if test)
    raise ValueError("no such expression")


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=name):
            return f"{_dotted(inner)}.{name}"
    raise ValueError("no such name")
