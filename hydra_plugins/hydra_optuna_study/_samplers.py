"""Samplers and pruners from `_target_` nodes: checked by the controller, made in each worker."""

from __future__ import annotations

import functools
import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler, QMCSampler
from optuna.trial import FrozenTrial

from ._process import abort, one_line
from ._program import instantiate
from ._space import Point, Space

Node = Mapping[str, Any]
EXHAUSTIVE = (GridSampler, BruteForceSampler)
MAX_POINTS = 100_000  # of a grid: Optuna keeps them in a list, in each worker


def make_sampler(node: Node | None, space: Space, seed: int, worker: int) -> BaseSampler:
    """The sampler of one worker: each has its own seed, or all would propose the same start.

    A grid and a quasi-random sequence are shared and take the same seed in every worker.
    """
    default = {"_target_": "optuna.samplers.TPESampler"}
    partial = {**(node or default), "_partial_": True}
    maker: functools.partial[BaseSampler] = instantiate(partial, BaseSampler)
    extra: dict[str, Any] = {}
    if "seed" in inspect.signature(maker.func).parameters:
        configured = maker.keywords.get("seed")
        own = 0 if maker.func in (*EXHAUSTIVE, QMCSampler) else worker
        extra["seed"] = own + (seed if configured is None else configured)
    if maker.func is BruteForceSampler or (maker.func is GridSampler and space.read):
        return PointSampler(list(space.points()), extra["seed"])
    if maker.func is GridSampler:
        if "search_space" in maker.keywords:
            raise ValueError("a grid's values are those of hydra.sweeper.params, not search_space")
        extra["search_space"] = {p.name: list(p.values) for p in space.parameters}
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        return maker(**extra)


class PointSampler(GridSampler):
    """A grid whose cells are whole points, so that none occurs twice under conditions.

    It also stands for `BruteForceSampler`, with which two workers may run one point.
    """

    def __init__(self, points: Sequence[Point], seed: int) -> None:
        super().__init__({"point": range(len(points))}, seed)
        self.points = points

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002  # Optuna's signature
    ) -> Any:
        cells = IntDistribution(0, len(self.points) - 1)
        return self.points[super().sample_independent(study, trial, "point", cells)][param_name]


def make_pruner(node: Node | None) -> BasePruner:
    """The pruner; without a node none, although Optuna's default is the median."""
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        pruner: BasePruner = instantiate(
            node or {"_target_": "optuna.pruners.NopPruner"}, BasePruner
        )
    return pruner


def is_exhaustive(node: Node | None) -> bool:
    """Whether the sampler tries every point once, so that their number is known."""
    module, _, name = str(node and node["_target_"]).rpartition(".")
    return module.startswith("optuna.") and name in {sampler.__name__ for sampler in EXHAUSTIVE}


def budget(n_trials: int | None, node: Node | None, space: Space) -> int:
    """How many trials a study has: of an exhaustive sampler no more than there are points.

    Raises: SystemExit(2), also where all trials would be equal.
    """
    exhaustive = is_exhaustive(node)
    for parameter in space.parameters:
        if exhaustive and parameter.size == math.inf:
            given = parameter.describe()
            abort(f"{parameter.name}: a grid needs a choice or a range, got {given}")
    if n_trials is None and not exhaustive:
        abort("hydra.sweeper.n_trials: a number must be given unless the sampler is a grid")
    size = space.size(MAX_POINTS + 1)
    if exhaustive and size > MAX_POINTS:
        abort(f"hydra.sweeper.params: a grid has at most {MAX_POINTS} points, got {size}")
    if n_trials is None:
        return int(size)
    if size == 1 and n_trials > 1:
        abort(
            "hydra.sweeper.params: nothing varies, so n_trials = 1 must hold, "
            f"got n_trials={n_trials}; search a key by KEY=choice(...), range(...), interval(...)"
        )
    return int(min(n_trials, size)) if exhaustive else n_trials


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
