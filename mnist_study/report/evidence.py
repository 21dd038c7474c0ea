"""Claims, the verdicts on them, and the evidence: measures of runs with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

import numpy as np
from numpy.typing import NDArray

from mnist_study.report import measures
from mnist_study.report.runs import EXACT, GRADIENTS, REPORT, Cell, ReportRuns, TrackedRun
from mnist_study.stats import Interval

IMAGE = (28, 28)
HOLDS, FAILS = "holds", "does not hold"

Measure = Callable[[ReportRuns, TrackedRun], float]
Checks = Iterator[tuple[bool, str]]  # whether a part of a claim holds, and the sentence on it


class TooFew(Exception):  # noqa: N818 - a state of the store, not an error of the program
    """A measure lacks runs; the text names them."""


@dataclass(frozen=True)
class Finding:
    """What the runs say about a claim."""

    verdict: str
    evidence: Sequence[str]  # a sentence for each measure, with its interval


@dataclass(frozen=True)
class Claim:
    """A statement, and how it is tested."""

    statement: str
    rule: str  # how the verdict follows from the evidence
    test: Callable[[ReportRuns], Finding]


def claim(statement: str, rule: str) -> Callable[[Callable[[ReportRuns], Finding]], Claim]:
    """Decorate the test of a claim."""
    return lambda test: Claim(statement, rule, test)


def claim_by_gradient(
    statement: str, rule: str
) -> Callable[[Callable[[ReportRuns, str], Checks]], Claim]:
    """Decorate the test of a claim with one gradient: it holds with it if every check does."""

    def decorate(test: Callable[[ReportRuns, str], Checks]) -> Claim:
        def both(runs: ReportRuns) -> Finding:
            checks = {gradient: list(test(runs, gradient)) for gradient in GRADIENTS}
            holds = {gradient: all(ok for ok, _ in found) for gradient, found in checks.items()}
            evidence = [sentence for found in checks.values() for _, sentence in found]
            return Finding(by_gradient(holds), evidence)

        return Claim(statement, rule, both)

    return decorate


def judge(claims: Sequence[Claim], runs: ReportRuns) -> list[tuple[Claim, Finding]]:
    """Test every claim; where runs are missing, the verdict names them."""
    judged = []
    for one in claims:
        try:
            finding = one.test(runs)
        except TooFew as error:
            finding = Finding(f"cannot be judged: {error}", ())
        judged.append((one, finding))
    return judged


def by_gradient(holds: Mapping[str, bool]) -> str:
    """The verdict on a claim that was tested with both gradients. Args: holds: by gradient."""
    if holds[REPORT] == holds[EXACT]:
        return HOLDS if holds[REPORT] else FAILS
    only = "report's" if holds[REPORT] else "exact"
    return f"holds only with the {only} gradient"


def confirmed(sure: bool) -> str:
    """The verdict on a cause."""
    return "confirmed" if sure else "not confirmed"


def final(key: str, less: str | None = None) -> Measure:
    """A value over a whole set at the end of the run, such as "test_accuracy", less another."""
    return lambda _, run: run.final[key] - (run.final[less] if less else 0)


TEST = final("test_accuracy")


def of_curve(metric: str, measure: Callable[[NDArray[np.float64]], float]) -> Measure:
    """A measure of a metric's values along the run."""

    def value(runs: ReportRuns, run: TrackedRun) -> float:
        values = runs.history(run, metric).values
        return measure(values) if len(values) else float("nan")

    return value


def image_sharpness(runs: ReportRuns, run: TrackedRun) -> float:
    """`measures.sharpness` of the run's last weights."""
    return measures.sharpness(runs.first_weights(run), IMAGE)


def cost_oscillation(runs: ReportRuns, run: TrackedRun) -> float:
    """`measures.oscillation` of the run's cost on the test set."""
    values = runs.history(run, "test/loss").values
    return measures.oscillation(values, len(values) / run.epochs)


def at_step(metric: str, step: int) -> Measure:
    """A metric's value at the last point up to `step`."""

    def value(runs: ReportRuns, run: TrackedRun) -> float:
        history = runs.history(run, metric)
        until = history.values[: max(1, np.searchsorted(history.steps, step, "right"))]
        return float(until[-1]) if len(until) else float("nan")

    return value


def over_seeds(runs: ReportRuns, cell: Cell, measure: Measure) -> list[float]:
    """The measure of each finished run of a cell; raises TooFew for less than two."""
    values = [measure(runs, run) for run in runs[cell].values()]
    if len(values) < 2:
        raise TooFew(f"{cell} has {len(values)} finished runs, and an interval needs two")
    if not np.isfinite(values).all():
        raise TooFew(f"the runs of {cell} are too short for this measure")
    return values


def mean(runs: ReportRuns, cell: Cell, measure: Measure) -> Interval:
    """Mean and interval over seeds."""
    return Interval.of(over_seeds(runs, cell, measure))


def difference(runs: ReportRuns, one: Cell, other: Cell, measure: Measure) -> Interval:
    """`one` less `other`, paired by seed, because a seed starts both from the same weights."""
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

    a, b = (over_seeds(runs, cell, TEST) for cell in (one, other))
    if not stdev(a) or not stdev(b):
        raise TooFew(f"the seeds of {one} or {other} agree, which tells no spread")
    ratio = stdev(a) / stdev(b)
    low, high = f.ppf([0.025, 0.975], len(a) - 1, len(b) - 1)
    return Interval(len(a), ratio, float("nan"), ratio / high**0.5, ratio / low**0.5)


def champions_differ(runs: ReportRuns) -> Interval | None:
    """Four layers less two after a search of each, with Welch's interval."""
    from scipy.stats import t

    a, b = (runs.champions.get(name) for name in ("four_layer", "two_layer"))
    if a is None or b is None:
        return None
    if not a.std or not b.std:
        return None
    va, vb = a.std**2 / a.n, b.std**2 / b.n
    freedom = (va + vb) ** 2 / (va**2 / (a.n - 1) + vb**2 / (b.n - 1))
    half = float(t.ppf(0.975, freedom)) * (va + vb) ** 0.5
    gap = a.mean - b.mean
    return Interval(min(a.n, b.n), gap, float("nan"), gap - half, gap + half)


def points(gap: Interval) -> str:
    """A difference of accuracies in percentage points, with its interval."""
    if not gap.known:
        return f"{gap.mean * 100:+.2f} points with each of {gap.n} seeds"
    return f"{gap.mean * 100:+.2f} points [{gap.low * 100:+.2f}, {gap.high * 100:+.2f}]"


def number(interval: Interval, unit: str = "") -> str:
    """Any other measure with its interval."""
    if not interval.known:
        return f"{interval.mean:.3g}{unit} with each of {interval.n} seeds"
    return f"{interval.mean:.3g}{unit} [{interval.low:.3g}, {interval.high:.3g}]"


def percent(accuracy: Interval) -> str:
    """An accuracy in per cent: mean, standard deviation, interval of the mean, number of seeds.

    Student's interval is unbounded; it is cut at 0 and 100 %.
    """
    if not accuracy.known:
        return f"{accuracy.mean * 100:.2f} % with each of {accuracy.n} seeds"
    low, high = max(0.0, accuracy.low) * 100, min(1.0, accuracy.high) * 100
    average, std = accuracy.mean * 100, accuracy.std * 100
    return f"{average:.2f} % ± {std:.2f} [{low:.2f}, {high:.2f}], n = {accuracy.n}"
