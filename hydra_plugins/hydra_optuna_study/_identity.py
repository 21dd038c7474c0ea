"""What makes a study the same study: its space, the values it fixes, directions and metric."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_optuna_study._space import Space


def identity(
    space: Space,
    directions: Sequence[str],
    metrics: Sequence[str],
    composed: DictConfig,
    free: Sequence[str] = (),
) -> dict[str, Any]:
    """A flat mapping of JSON values that two runs of one study share.

    Args:
        composed: one point of the space: what a trial is made of but its sampled values, whether a
            file says it or the command line.
        free: sections and keys that change no result; they are not compared.
    """
    config = {key: value for key, value in _container(composed).items() if key != "hydra"}
    varied = (*free, *(parameter.name for parameter in space.parameters))
    fixed = {
        key: value
        for key, value in _flat(config).items()
        if not any(key == name or key.startswith(f"{name}.") for name in varied)
    }
    return {
        **dict(sorted((p.name, p.describe()) for p in space.parameters)),
        **dict(sorted(fixed.items())),
        "direction": list(directions),
        "metric": list(metrics),
    }


def _container(config: DictConfig) -> dict[str, Any]:
    """Plain values; interpolations stay as they are written, a time of day would never match."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return dict(plain)


def _flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def digest(facts: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits of the identity."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def difference(stored: dict[str, Any], asked: dict[str, Any]) -> str:
    """The first differing key, with both values; how many more there are."""
    keys = [key for key in {**stored, **asked} if stored.get(key) != asked.get(key)]
    key = keys[0]
    was, now = _show(stored, key), _show(asked, key)
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return f"{key} was {was}, is {now}{more}"


def _show(facts: dict[str, Any], key: str) -> str:
    value = facts.get(key, "absent")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
