"""Samplers and pruners from `_target_` nodes: checked by the controller, made in each worker."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, GridSampler, QMCSampler

from ._process import abort, one_line
from ._program import instantiate
from ._space import Space

Node = Mapping[str, Any]


def make_sampler(node: Node | None, space: Space, seed: int, worker: int) -> BaseSampler:
    """The sampler of one worker: each has its own seed, or all would propose the same start.

    A grid and a quasi-random sequence are shared and take the same seed in every worker.
    """
    default = {"_target_": "optuna.samplers.TPESampler"}
    maker: functools.partial[BaseSampler] = instantiate({**(node or default), "_partial_": True})
    extra: dict[str, Any] = {}
    if "seed" in inspect.signature(maker.func).parameters:
        configured = maker.keywords.get("seed")
        own = 0 if maker.func in (GridSampler, QMCSampler) else worker
        extra["seed"] = own + (seed if configured is None else configured)
    if maker.func is GridSampler and "search_space" not in maker.keywords:
        extra["search_space"] = {p.name: p.values for p in space.parameters}
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        sampler = maker(**extra)
    assert isinstance(sampler, BaseSampler)
    return sampler


def make_pruner(node: Node | None) -> BasePruner:
    """The pruner; without a node none, although Optuna's default is the median."""
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        pruner = instantiate(node or {"_target_": "optuna.pruners.NopPruner"})
    assert isinstance(pruner, BasePruner)
    return pruner


def grid_size(node: Any, space: Space) -> int | None:
    """Number of points of a grid sampler; None for every other sampler."""
    if not (isinstance(node, Mapping) and str(node.get("_target_")).endswith("GridSampler")):
        return None
    size = 1
    for parameter in space.parameters:
        if parameter.values is None:
            given = parameter.describe()
            abort(f"{parameter.name}: a grid needs a choice or a range, got {given}")
        size *= len(parameter.values)
    return size


def validate_nodes(
    sampler: Node | None, pruner: Node | None, space: Space, objectives: int
) -> None:
    """Make both once: a mistake is one sentence here instead of a traceback in each worker.

    Raises: SystemExit(2) naming the key, with the pip command if a package is missing.
    """
    for key, node, make in (
        ("sampler", sampler, lambda: make_sampler(sampler, space, 0, 0)),
        ("pruner", pruner, lambda: make_pruner(pruner)),
    ):
        target = str(node and node["_target_"])
        try:
            make()
            for package in _PACKAGES.get(target, "").split():
                import_module(package)
        except AssertionError:
            abort(f"hydra.sweeper.{key}: {target} is not an Optuna {key}")
        except Exception as error:  # noqa: BLE001  # whatever a constructor raises
            reason = one_line(error)
            if isinstance(error, ImportError) and target in _PACKAGES:
                reason = f"{target} needs a package more: pip install {_PACKAGES[target]}"
            abort(f"hydra.sweeper.{key}: {reason}")
    if objectives > 1 and sampler is not None and pruner is not None:
        abort(
            "hydra.sweeper.pruner: a study of several objectives cannot prune, so pruner = null "
            f"must hold, got {pruner['_target_']}"
        )


_PACKAGES = {  # which Optuna imports as late as at the first suggestion
    "optuna.samplers.GPSampler": "torch scipy",
    "optuna.samplers.QMCSampler": "scipy",
    "optuna.samplers.CmaEsSampler": "cmaes",
    "optuna.pruners.WilcoxonPruner": "scipy",
}
