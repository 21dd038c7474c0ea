"""A search as one figure: how its best value grew, and what each parameter did to the value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_COMPLETE, _PRUNED, _BEST = "#0072B2", "#999999", "#D55E00"  # Okabe & Ito


def study_figure(trials: Sequence[FrozenTrial], metric: str, *, maximize: bool) -> Figure:
    """Draw value against trial, and against each of at most three parameters.

    Pruned trials stand at the last value they reported. The worst tenth of all may lie
    outside the frame: what a search is about happens near its best.
    """
    from matplotlib.figure import Figure

    shown = [t for t in trials if t.values or t.intermediate_values]
    values = np.array([t.values[0] if t.values else _last_report(t) for t in shown])
    complete = np.array([t.state.name == "COMPLETE" for t in shown], dtype=bool)
    names = list(dict.fromkeys(name for t in shown for name in t.params))[:3]
    figure = Figure(figsize=(3.2 * (1 + len(names)), 3.4), dpi=100, layout="constrained")
    history, *slices = figure.subplots(1, 1 + len(names), sharey=True, squeeze=False)[0]
    _points(history, [t.number for t in shown], values, complete)
    best_so_far = (np.maximum if maximize else np.minimum).accumulate(
        np.where(complete, values, -np.inf if maximize else np.inf)
    )
    known = np.isfinite(best_so_far)
    numbers = np.array([t.number for t in shown])
    history.step(numbers[known], best_so_far[known], where="post", color=_BEST, label="best so far")
    history.set(xlabel="trial", ylabel=metric)
    history.legend(fontsize=8, loc="lower right" if maximize else "upper right")
    for axes, name in zip(slices, names, strict=True):
        having = np.array([name in t.params for t in shown])
        words = [t.params[name] for t in shown if name in t.params]
        _points(axes, _positions(words), values[having], complete[having])
        distribution = next(t.distributions[name] for t in shown if name in t.params)
        _scale(axes, name, words, distribution)
    _frame(history, values, maximize=maximize)
    return figure


def _last_report(trial: FrozenTrial) -> float:
    return trial.intermediate_values[max(trial.intermediate_values)]


def _points(axes: Axes, positions: Sequence[Any], values: Any, complete: Any) -> None:
    x = np.asarray(positions)
    axes.plot(x[~complete], values[~complete], "x", color=_PRUNED, markersize=5, label="pruned")
    axes.plot(x[complete], values[complete], "o", color=_COMPLETE, markersize=5, label="complete")
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _positions(words: Sequence[Any]) -> list[float]:
    """Numbers where they are; words in the order of their names."""
    if all(isinstance(word, int | float) for word in words):
        return [float(word) for word in words]
    order = sorted({str(word) for word in words})
    return [float(order.index(str(word))) for word in words]


def _scale(axes: Axes, name: str, words: Sequence[Any], distribution: BaseDistribution) -> None:
    axes.set_xlabel(name)
    if getattr(distribution, "log", False):
        axes.set_xscale("log")
    elif not all(isinstance(word, int | float) for word in words):
        order = sorted({str(word) for word in words})
        axes.set_xticks(range(len(order)), order)
    elif len(set(words)) <= 8:
        if min(words) > 0 and max(words) / min(words) >= 8:  # 32, 64, 128, 256
            axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(set(words)), [str(word) for word in sorted(set(words))])


def _frame(axes: Axes, values: Any, *, maximize: bool) -> None:
    if len(values) < 3:
        return
    best, worst = np.quantile(values, [1.0, 0.1] if maximize else [0.0, 0.9])
    margin = 0.08 * (best - worst) or 0.01
    axes.set_ylim(*sorted((worst - margin, best + margin)))


def pareto_figure(
    trials: Sequence[FrozenTrial], front: Sequence[FrozenTrial], metrics: Sequence[str]
) -> Figure:
    """Draw the first two objectives of all complete trials; the front, by number, is what none
    dominates.
    """
    from matplotlib.figure import Figure

    complete = [t for t in trials if t.state.name == "COMPLETE" and t.values]
    figure = Figure(figsize=(6.4, 4.2), dpi=100, layout="constrained")
    axes = figure.subplots()
    points = np.array([t.values[:2] for t in complete]).reshape(-1, 2)
    best = np.array(sorted(t.values[:2] for t in front)).reshape(-1, 2)
    _points(axes, list(points[:, 1]), points[:, 0], np.ones(len(points), bool))
    axes.plot(best[:, 1], best[:, 0], "o-", color=_BEST, linewidth=1, label="Pareto front")
    for trial in front:
        place = (trial.values[1], trial.values[0])
        axes.annotate(
            str(trial.number), place, xytext=(4, 4), textcoords="offset points", fontsize=8
        )
    axes.set(xlabel=metrics[1], ylabel=metrics[0])
    axes.legend(fontsize=8)
    return figure
