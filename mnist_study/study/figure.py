"""A search as one figure: how its best value grew, and what each parameter did to the value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_study.tracking.figures import style

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

_COMPLETE, _PRUNED, _BEST = "#0072B2", "#999999", "#D55E00"  # Okabe & Ito


def study_figure(study: optuna.Study, metric: str) -> Figure:
    """Draw value against trial, and against each of at most three parameters.

    Pruned trials stand at the last value they reported. The worst tenth of all may lie
    outside the frame: what a search is about happens near its best.
    """
    from matplotlib.figure import Figure

    shown = [trial for trial in study.get_trials(deepcopy=False) if trial.values]
    names = list(dict.fromkeys(name for trial in shown for name in trial.params))[:3]
    figure = Figure(figsize=(3.2 * (1 + len(names)), 3.4), dpi=100, layout="constrained")
    history, *slices = figure.subplots(1, 1 + len(names), sharey=True, squeeze=False)[0]
    _history(history, shown, maximize=study.directions[0].name == "MAXIMIZE")
    history.set(xlabel="trial", ylabel=metric)
    for axes, name in zip(slices, names, strict=True):
        _slice(axes, name, [trial for trial in shown if name in trial.params])
    return figure


def pareto_figure(study: optuna.Study, *metrics: str) -> Figure:
    """Draw the first two objectives of all complete trials; the Pareto front has numbers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), dpi=100, layout="constrained")
    axes = figure.subplots()
    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    _points(axes, [trial.values[1] for trial in complete], complete)
    front = sorted(study.best_trials, key=lambda trial: trial.values[:2])
    y, x = np.array([trial.values[:2] for trial in front]).reshape(-1, 2).T
    axes.plot(x, y, "o-", color=_BEST, linewidth=1, label="Pareto front")
    for trial, xy in zip(front, zip(x, y, strict=True), strict=True):
        axes.annotate(str(trial.number), xy, (4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel=metrics[1], ylabel=metrics[0])
    axes.legend(fontsize=8)
    return figure


def _points(axes: Axes, positions: Sequence[Any], trials: Sequence[FrozenTrial]) -> None:
    """Draw the first objective of trials at their positions on the x axis."""
    x, y = np.array(positions), np.array([trial.values[0] for trial in trials])
    complete = np.array([trial.state.name == "COMPLETE" for trial in trials], dtype=bool)
    axes.plot(x[~complete], y[~complete], "x", color=_PRUNED, markersize=5, label="pruned")
    axes.plot(x[complete], y[complete], "o", color=_COMPLETE, markersize=5, label="complete")
    style(axes)


def _history(axes: Axes, trials: Sequence[FrozenTrial], *, maximize: bool) -> None:
    numbers = [trial.number for trial in trials]
    of_complete = [t.values[0] if t.state.name == "COMPLETE" else np.nan for t in trials]
    _points(axes, numbers, trials)
    best_so_far = (np.fmax if maximize else np.fmin).accumulate(of_complete)  # NaN: none yet
    axes.step(numbers, best_so_far, where="post", color=_BEST, label="best so far")
    axes.legend(fontsize=8, loc="lower right" if maximize else "upper right")
    if len(trials) >= 3:
        values = [trial.values[0] for trial in trials]
        best, worst = np.quantile(values, [1.0, 0.1] if maximize else [0.0, 0.9])
        margin = 0.08 * (best - worst) or 0.01
        axes.set_ylim(*sorted((worst - margin, best + margin)))


def _slice(axes: Axes, name: str, trials: Sequence[FrozenTrial]) -> None:
    """Draw the value against a parameter: numbers on their scale, words in alphabetical order."""
    words = [trial.params[name] for trial in trials]
    axes.set_xlabel(name)
    if not all(isinstance(word, int | float) for word in words):
        choices = sorted({str(word) for word in words})
        axes.set_xticks(range(len(choices)), choices)
        words = [choices.index(str(word)) for word in words]
    elif getattr(trials[0].distributions[name], "log", False):
        axes.set_xscale("log")
    elif len(numbers := sorted(set(words))) <= 8:
        if numbers[0] > 0 and numbers[-1] / numbers[0] >= 8:  # 32, 64, 128, 256
            axes.set_xscale("log", base=2)
        axes.set_xticks(numbers, [str(number) for number in numbers])
    _points(axes, words, trials)
