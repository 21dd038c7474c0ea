"""Loss and accuracy along a run, as matplotlib figures without pyplot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = list[tuple[int, float]]  # one quantity of one split along the run: iteration, value

CURVE_POINTS = 2000  # a curve with more points is decimated, its peaks kept

# Okabe & Ito's colours, and a dash for each: the splits differ without colour, too.
_STYLES = {"train": ("#0072B2", "-"), "validation": ("#D55E00", "--"), "test": ("#009E73", "-.")}


def preload() -> None:
    """Import matplotlib now, so that drawing later takes no second."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401 - for later


def decimate(curve: Curve, points: int = CURVE_POINTS) -> tuple[NDArray[Any], NDArray[Any]]:
    """Steps and values of at most about `points` points: of each stretch its lowest and highest.

    A spike of a single iteration stays where it was, which taking every k-th point would lose.
    """
    steps, values = np.array(curve, float).reshape(-1, 2).T
    if len(steps) <= points:
        return steps, values
    stretches = np.array_split(np.arange(len(values)), points // 2)
    extremes = [s[pick(values[s])] for s in stretches for pick in (np.argmin, np.argmax)]
    kept = np.unique([0, *extremes, len(steps) - 1])
    return steps[kept], values[kept]


def curve_figure(quantity: str, curves: Mapping[str, Curve], final: Mapping[str, float]) -> Figure:
    """Loss or accuracy of all splits against iterations, the final values written in.

    Args:
        quantity: "loss" (nats per image, log scale) or "accuracy" (fraction).
        curves: by metric key: "train/loss", and "train/loss_epoch", its mean per epoch, where
            points are finer than an epoch; drawn over them.
        final: by metric key, "final/train_loss": over the whole split at the end; may be empty.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=100)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.115, right=0.98, bottom=0.12, top=0.9)
    end = max((curve[-1][0] for curve in curves.values() if curve), default=0)
    ends = {s: final[key] for s in _STYLES if (key := f"final/{s}_{quantity}") in final}
    for split, (color, dash) in _STYLES.items():
        label = f"{split} {ends[split]:.4f}" if split in ends else split
        fine, coarse = (curves.get(f"{split}/{quantity}{mean}") for mean in ("", "_epoch"))
        if fine and coarse:
            axes.plot(*decimate(fine), color=color, linewidth=0.8, alpha=0.35)
        if line := coarse or fine:
            marker = "o" if len(line) <= 30 else None
            axes.plot(
                *decimate(line), dash, color=color, marker=marker, markersize=3.5, label=label
            )
        elif split in ends:  # looked at once, at the end
            axes.plot([end], [ends[split]], "D", color=color, markersize=6, label=label)
    _dress(axes, quantity, bool(ends))
    return figure


def style(axes: Axes) -> None:
    """How all our plots look: a light grid below the data, no frame above and right of it."""
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _dress(axes: Axes, quantity: str, finished: bool) -> None:
    from matplotlib.ticker import LogLocator

    # Words at fixed places: to find room for one, matplotlib lays all ticks out once more.
    axes.set_title(quantity.capitalize(), loc="left", fontweight="bold", y=1.0)
    axes.set_xlabel("iteration")
    axes.xaxis.set_label_coords(0.5, -0.08)
    axes.set_ylabel({"loss": "nats per image", "accuracy": "fraction correct"}[quantity])
    axes.yaxis.set_label_coords(-0.103, 0.5)  # left of 0.9875
    values = [np.asarray(line.get_ydata(), float) for line in axes.get_lines()]
    if quantity == "loss" and values and all((v > 0).all() for v in values):
        axes.set_yscale("log", subs=())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
    style(axes)
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(loc="upper right" if quantity == "loss" else "lower right")
        legend.set_title("final value" if finished else "")
