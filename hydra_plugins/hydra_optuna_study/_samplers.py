"""Samplers and pruners from `_target_` nodes: checked by the controller, made in each worker."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, GridSampler, QMCSampler

from hydra_plugins.hydra_optuna_study._abort import refuse
from hydra_plugins.hydra_optuna_study._instantiate import build, find
from hydra_plugins.hydra_optuna_study._space import Space

Node = Mapping[str, Any]


def make_sampler(node: Node | None, space: Space, seed: int, worker: int) -> BaseSampler:
    """The sampler of one worker: each has a seed of its own, or all propose the same start.

    A grid and a quasi-random sequence are shared, and must be the same in every worker.
    """
    node = {"_target_": "optuna.samplers.TPESampler"} if node is None else node
    kind = find(str(node["_target_"]))
    parameters = inspect.signature(kind).parameters
    given: dict[str, Any] = {}
    if "seed" in parameters:
        node, base = {**node}, node.get("seed")
        node["seed"] = seed if base is None else base
        node["seed"] += 0 if kind in (GridSampler, QMCSampler) else worker
    if kind is GridSampler and "search_space" not in node:
        given["search_space"] = {p.name: p.values for p in space.parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = build(node, **given)
    assert isinstance(sampler, BaseSampler)
    return sampler


def make_pruner(node: Node | None) -> BasePruner:
    """The pruner; no node, no pruning (Optuna's own default would be the median)."""
    if node is None:
        return NopPruner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        pruner = build(node)
    assert isinstance(pruner, BasePruner)
    return pruner


def grid_size(node: Any, space: Space) -> int | None:
    """How many points a grid sampler has; None for every other sampler."""
    if not (isinstance(node, Mapping) and str(node.get("_target_")).endswith("GridSampler")):
        return None
    sizes = []
    for parameter in space.parameters:
        values = parameter.values
        if values is None:
            facts = parameter.describe()
            refuse(f"{parameter.name}: a grid needs a choice or a range, got {facts}")
        sizes.append(len(values))
    return math.prod(sizes)


def check_nodes(sampler: Node | None, pruner: Node | None, space: Space, objectives: int) -> None:
    """Make both once, so that a mistake in a node is one sentence here and not W tracebacks.

    Raises: SystemExit(2) naming the key, with the pip command if a package is missing.
    """
    for key, node, make in (
        ("sampler", sampler, lambda: make_sampler(sampler, space, 0, 0)),
        ("pruner", pruner, lambda: make_pruner(pruner)),
    ):
        try:
            _import_lazy_packages(make())
        except Exception as error:  # noqa: BLE001  # whatever a constructor raises
            refuse(f"hydra.sweeper.{key}: {_explain(str(node and node['_target_']), key, error)}")
    if objectives > 1 and sampler is not None and pruner is not None:
        refuse(
            "hydra.sweeper.pruner: a study of several objectives cannot prune, so pruner = null "
            f"must hold, got {pruner['_target_']}"
        )


def _explain(target: str, key: str, error: Exception) -> str:
    if isinstance(error, AssertionError):
        return f"{target} is not an Optuna {key}"
    package = _PACKAGES.get(target)
    if isinstance(error, ImportError) and package:
        return f"{target} needs a package more: pip install {package}"
    return " ".join(str(error).split())


_PACKAGES = {
    "optuna.samplers.GPSampler": "torch scipy",
    "optuna.samplers.QMCSampler": "scipy",
    "optuna.samplers.CmaEsSampler": "cmaes",
    "optuna.pruners.WilcoxonPruner": "scipy",
}


def _import_lazy_packages(made: object) -> None:
    """Optuna imports what GP, QMC, CMA-ES and Wilcoxon need at the first suggestion only."""
    names = {"GPSampler": ("torch", "scipy"), "QMCSampler": ("scipy",), "CmaEsSampler": ("cmaes",)}
    names["WilcoxonPruner"] = ("scipy",)
    for name in names.get(type(made).__name__, ()):
        __import__(name)
