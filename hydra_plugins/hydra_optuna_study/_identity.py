"""What makes a study the same study: space, fixed overrides, directions and metric."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from hydra_plugins.hydra_optuna_study._space import Space


def identity(
    space: Space, directions: Sequence[str], metrics: Sequence[str], free: Sequence[str] = ()
) -> dict[str, Any]:
    """A flat mapping of JSON values that two runs of one study share.

    Args: free: config sections that change no result; overrides of them are not compared.
    """
    sections = tuple(f"{name}{end}" for name in free for end in (".", "="))
    return {
        **dict(sorted((p.name, p.describe()) for p in space.parameters)),
        "fixed overrides": sorted(
            o for o in space.fixed if not o.lstrip("+~").startswith(sections)
        ),
        "direction": list(directions),
        "metric": list(metrics),
    }


def digest(facts: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits of the identity."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def difference(stored: dict[str, Any], asked: dict[str, Any]) -> str:
    """The first differing key, with both values; how many more there are."""
    keys = [key for key in {**stored, **asked} if stored.get(key) != asked.get(key)]
    key = keys[0]
    was, now = _show(stored, key), _show(asked, key)
    if key == "fixed overrides":
        old, new = set(stored.get(key, ())), set(asked.get(key, ()))
        was, now = ((" ".join(sorted(part)) or "absent") for part in (old - new, new - old))
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return f"{key} was {was}, is {now}{more}"


def _show(facts: dict[str, Any], key: str) -> str:
    value = facts.get(key, "absent")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
