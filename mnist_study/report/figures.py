"""Kinds of plots: curves with bands over seeds, sheets of weights, and intervals.

Matplotlib's figures without pyplot; nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_study.stats import Interval
from mnist_study.tracking.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"train": "#0072B2", "test": "#D55E00"}  # Okabe & Ito's, safe for colour-blind eyes
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
POINTS = 400  # a panel is about so many pixels wide; a longer curve is drawn in as many stretches
PEAK = 4  # a cost above so many times that of the start and of the end is cut off


@dataclass(frozen=True)
class Band:
    """One quantity over seeds: at each step the mean, the lowest and the highest seed."""

    steps: NDArray[Any]
    mean: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]
    final: float  # mean over seeds of the value over the whole set at the end


@dataclass(frozen=True)
class Panel:
    """One plot of cost or accuracy."""

    title: str
    quantity: str  # "cost" or "accuracy"
    bands: Mapping[str, Band]  # label -> band; "train" and "test" have colours of their own


def curves(panels: Sequence[Sequence[Panel]]) -> Figure:
    """Rows of equally many panels."""
    from matplotlib.figure import Figure

    rows, columns = len(panels), len(panels[0])
    figure = Figure(figsize=(5.2 * columns, 3.1 * rows), dpi=100, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for line, row in zip(grid, panels, strict=True):
        for axes, panel in zip(line, row, strict=True):
            _draw(axes, panel)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    for k, (label, band) in enumerate(panel.bands.items()):
        color, one = COLORS.get(label, SERIES[k % len(SERIES)]), _shortened(band)
        axes.fill_between(one.steps, one.low, one.high, color=color, alpha=0.22, linewidth=0)
        value = f"{one.final:.2%}" if panel.quantity == "accuracy" else f"{one.final:.4f}"
        axes.plot(one.steps, one.mean, color=color, linewidth=1.3, label=f"{label} {value}")
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("iteration", fontsize=9)
    unit = "nats per image" if panel.quantity == "cost" else "fraction correct"
    axes.set_ylabel(unit, fontsize=9)
    axes.tick_params(labelsize=8)
    style(axes)
    if not panel.bands:
        axes.text(0.5, 0.5, "no finished run", ha="center", transform=axes.transAxes)
        return
    note = _limit(axes, panel)
    axes.legend(loc="best", fontsize=8, title=f"final value{note}", title_fontsize=8)


def _shortened(band: Band) -> Band:
    """A long band with one point for each stretch of it: the extremes, and the mean of means."""
    if len(band.steps) <= POINTS:
        return band
    cuts = np.linspace(0, len(band.steps), POINTS + 1).astype(int)[:-1]
    size = np.diff([*cuts, len(band.steps)])
    steps, mean = (np.add.reduceat(part, cuts) / size for part in (band.steps, band.mean))
    low, high = np.minimum.reduceat(band.low, cuts), np.maximum.reduceat(band.high, cuts)
    return Band(steps, mean, low, high, band.final)


def _limit(axes: Axes, panel: Panel) -> str:
    """Leave out the first fall and lone peaks, which would flatten everything else.

    Returns: a note on the peaks for the legend.
    """
    bands, note = panel.bands.values(), ""
    tails = np.concatenate([x[len(x) // 50 :] for one in bands for x in (one.low, one.high)])
    low, high = tails.min(), tails.max()
    ceiling = PEAK * max(end for one in bands for end in (one.mean[0], one.mean[-1]))
    if panel.quantity == "cost" and high > ceiling:
        note, high = f"; peaks of up to {high:.0f} cut off", ceiling
    margin = 0.06 * (high - low) or 0.01
    axes.set_ylim(low - margin, high + margin)
    return note


def sheets(rows: Sequence[Mapping[str, NDArray[Any]]], shape: tuple[int, int]) -> Figure:
    """Ten rows of W as grey images in a 2 x 5 grid titled 0 to 9, one grid for each entry.

    A row of grids has one scale: mid-grey is 0, white its largest weight, black the negative.

    Args: rows: of each row of grids title -> (pixels, 10).
    """
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(5.2 * columns, 2.75 * len(rows)), dpi=100, layout="constrained")
    grid = figure.subfigures(len(rows), columns, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        limit = max(float(np.abs(weights).max()) for weights in row.values())
        for part, (title, weights) in zip(line, row.items(), strict=False):
            part.suptitle(title, fontsize=10, fontweight="bold", x=0.02, ha="left")
            for digit, axes in enumerate(part.subplots(2, 5).flat):
                image = weights[:, digit].reshape(shape)
                axes.imshow(image, cmap="gray", vmin=-limit, vmax=limit)
                axes.set_title(str(digit), fontsize=9, pad=2)
                axes.axis("off")
    return figure


def intervals(groups: Mapping[str, Sequence[float]], label: str) -> Figure:
    """Every run as a point, and the 95 % interval of their mean where there are two or more.

    Args: groups: name on the axis -> the runs' percentages, one or more in all; label: their name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 0.9 + 0.5 * len(groups)), dpi=100, layout="constrained")
    axes = figure.subplots()
    every = [value for found in groups.values() for value in found]
    smallest = min(every)
    log = max(every) > 5 * smallest > 0
    for y, found in enumerate(groups.values()):
        axes.plot(found, [y] * len(found), "o", color=SERIES[0], alpha=0.35, markersize=5)
        if len(found) > 1:
            mean = Interval.of(found)  # of percentages: none is below 0 or above 100
            low, high = max(mean.low, smallest / 2 if log else 0), min(mean.high, 100)
            bar = [[mean.mean - low], [high - mean.mean]]
            axes.errorbar(mean.mean, y, xerr=bar, fmt="D", color=SERIES[1], capsize=4)
    if log:
        axes.set_xscale("log")
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if smallest / 2 <= tick]
        axes.set_xticks(ticks, map(str, ticks))
        axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(groups)), list(groups), fontsize=9)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel(f"{label}, %: runs, and the 95 % interval of their mean", fontsize=9)
    axes.tick_params(labelsize=8)
    style(axes)
    return figure
