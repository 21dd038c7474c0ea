"""What verdicts rest on: measures of runs, their intervals over seeds, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from statistics import stdev

import numpy as np
from numpy.typing import NDArray

from mnist_study.report import measures
from mnist_study.report.runs import Cell, ReportRuns, TrackedRun
from mnist_study.stats import Interval

IMAGE = (28, 28)

Measure = Callable[[ReportRuns, TrackedRun], float]


class TooFew(Exception):  # noqa: N818 - what is the matter, not a fault
    """A measure lacks runs; the text says which."""


def final(key: str) -> Measure:
    """A figure over a whole set at the end of the run, such as "test_accuracy"."""
    return lambda _, run: run.final[key]


def of_curve(metric: str, measure: Callable[[NDArray[np.float64]], float]) -> Measure:
    """A measure of a curve's values."""

    def value(runs: ReportRuns, run: TrackedRun) -> float:
        values = runs.curve(run, metric).values
        return measure(values) if len(values) else float("nan")

    return value


def sharpness(runs: ReportRuns, run: TrackedRun) -> float:
    """`measures.sharpness` of the run's last weights."""
    return measures.sharpness(runs.first_weights(run), IMAGE)


def oscillation(runs: ReportRuns, run: TrackedRun) -> float:
    """`measures.oscillation` of the run's cost on the test set."""
    curve = runs.curve(run, "test/loss").values
    return measures.oscillation(curve, len(curve) / run.epochs)


def at_step(metric: str, step: int) -> Measure:
    """A curve's value at the last point up to `step`."""

    def value(runs: ReportRuns, run: TrackedRun) -> float:
        curve = runs.curve(run, metric)
        if not len(curve.steps):
            return float("nan")
        last = int(np.searchsorted(curve.steps, step, "right")) - 1
        return float(curve.values[max(0, last)])

    return value


def values(runs: ReportRuns, cell: Cell, measure: Measure) -> list[float]:
    """The measure of each finished run of a cell; raises TooFew for less than two."""
    found = [measure(runs, run) for run in runs[cell].values()]
    if len(found) < 2:
        raise TooFew(f"{cell} has {len(found)} finished runs, and an interval needs two")
    if not np.isfinite(found).all():
        raise TooFew(f"the runs of {cell} are too short for this measure")
    return found


def mean(runs: ReportRuns, cell: Cell, measure: Measure) -> Interval:
    """Mean and interval over seeds."""
    return Interval.of(values(runs, cell, measure))


def difference(runs: ReportRuns, one: Cell, other: Cell, measure: Measure) -> Interval:
    """`one` less `other`, seed by seed (the same seed starts both from the same weights)."""
    seeds = sorted(runs[one].keys() & runs[other].keys())
    if len(seeds) < 2:
        raise TooFew(f"{one} and {other} share {len(seeds)} finished seeds of at least two")
    pairs = [measure(runs, runs[one][s]) - measure(runs, runs[other][s]) for s in seeds]
    if not np.isfinite(pairs).all():
        raise TooFew(f"the runs of {one} or {other} are too short for this measure")
    return Interval.of(pairs)


def spread_ratio(runs: ReportRuns, one: Cell, other: Cell) -> Interval:
    """Ratio of the standard deviations of the test accuracy, with its 95 % F interval."""
    from scipy.stats import f

    a, b = (values(runs, cell, final("test_accuracy")) for cell in (one, other))
    ratio = stdev(a) / max(stdev(b), 1e-6)
    low, high = f.ppf([0.025, 0.975], len(a) - 1, len(b) - 1)
    return Interval(len(a), ratio, float("nan"), ratio / high**0.5, ratio / low**0.5)


def points(interval: Interval) -> str:
    """Accuracies: percentage points with a sign and their interval."""
    return (
        f"{interval.mean * 100:+.2f} points [{interval.low * 100:+.2f}, {interval.high * 100:+.2f}]"
    )


def plain(interval: Interval, unit: str = "") -> str:
    """Any other measure with its interval."""
    return f"{interval.mean:.3g}{unit} [{interval.low:.3g}, {interval.high:.3g}]"


def accuracy(interval: Interval) -> str:
    """An accuracy in per cent: mean, standard deviation, interval of the mean, number of seeds.

    Student's interval knows no bounds; what lies outside 0 to 100 % is cut off.
    """
    low, high = max(0.0, interval.low) * 100, min(1.0, interval.high) * 100
    mean, std = interval.mean * 100, interval.std * 100
    return f"{mean:.2f} % ± {std:.2f} [{low:.2f}, {high:.2f}], n = {interval.n}"


def within(interval: Interval, margin: float) -> bool:
    """Whether the whole interval lies within plus or minus `margin`."""
    return -margin < interval.low and interval.high < margin


def champions_differ(runs: ReportRuns) -> Interval | None:
    """Four layers less two after a search of each, with Welch's interval."""
    from scipy.stats import t

    pair = [runs.champions.get(name) for name in ("four_layer", "two_layer")]
    if pair[0] is None or pair[1] is None:
        return None
    a, b = (champion for champion in pair if champion)
    va, vb = a.std**2 / a.n, b.std**2 / b.n
    freedom = (va + vb) ** 2 / (va**2 / (a.n - 1) + vb**2 / (b.n - 1))
    half = float(t.ppf(0.975, freedom)) * (va + vb) ** 0.5
    gap = a.mean - b.mean
    return Interval(min(a.n, b.n), gap, float("nan"), gap - half, gap + half)
