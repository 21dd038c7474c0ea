"""Objects from `_target_` nodes; Hydra 1.3 and 1.4 differ in what their `instantiate` trusts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any


def find(target: str) -> Any:
    """The object with this dotted name.

    Raises: ImportError if there is none.
    """
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (AttributeError, ValueError) as error:
        raise ImportError(f"there is no {target}") from error


def build(node: Any, **given: Any) -> Any:
    """Call the node's `_target_` with its other keys, nested nodes first; `given` is added."""
    if isinstance(node, list):
        return [build(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    arguments = {key: build(item) for key, item in node.items() if not str(key).startswith("_")}
    if "_target_" not in node:
        return arguments
    target = find(str(node["_target_"]))
    if node.get("_partial_"):
        return partial(target, **arguments, **given)
    return target(**arguments, **given)
