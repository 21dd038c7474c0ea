"""Verdicts follow from the runs: each claim on runs that were made so that the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_study.config import TrackingConfig
from mnist_study.report import networks as report_networks
from mnist_study.report import softmax as report_softmax
from mnist_study.report.evidence import (
    champions_differ,
    difference,
    final,
    judge,
    points,
    spread_ratio,
)
from mnist_study.report.page import CAUSES, CLAIMS
from mnist_study.report.runs import EXACT, REPORT, Cell, History, ReportRuns, TrackedRun
from mnist_study.stats import Interval

SEEDS = range(5)
SETTINGS = TrackingConfig("none", None, "mnist", None)
JITTER = np.array([0.0, 1.0, -1.0, 0.5, -0.5]) * 1e-4  # what a seed changes


class Known(ReportRuns):
    """Runs whose curves and weights are given, not read."""

    def __init__(self):
        super().__init__(SETTINGS)
        self.curves, self.weights = {}, {}

    def put(self, name, gradient=EXACT, *, epochs=50, spread=1.0, **known):
        """Runs of five seeds; keys like test_accuracy are final, test__loss a curve."""
        cell = Cell(name, gradient)
        for seed in SEEDS:
            jitter = JITTER[seed] * spread
            ends = {k: v + jitter for k, v in known.items() if "__" not in k and k != "weights"}
            run = TrackedRun(f"{cell}{seed}", cell, seed, "", ends, epochs)
            self.tracked.append(run)
            for key, values in known.items():
                if "__" in key:
                    self.curves[run, key.replace("__", "/")] = np.asarray(values) + jitter
            if "weights" in known:
                self.weights[run] = known["weights"](seed)
        return cell

    def history(self, run, metric):
        values = self.curves[run, metric]
        return History(5 * np.arange(1, len(values) + 1), values)

    def first_weights(self, run):
        return self.weights[run]


def verdict(claim, runs):
    ((_, finding),) = judge([claim], runs)
    return finding.verdict


def white(seed, scale, points=400):
    return np.random.default_rng(seed).normal(0, scale, points)


def batches(runs, gradient, *, sharp_small, noise_small, sharp_short=None):
    """Two batch sizes; the large one has half a share of high frequencies and noise of 0.1.

    `sharp_short` is that of the small batch after as many steps as the large one takes.
    """
    y, x = np.mgrid[:28, :28]
    smooth, fine = np.sin(2 * np.pi * x / 14).ravel(), np.where((x + y) % 2, 1, -1).ravel()

    def images(share):
        part = np.sqrt(share) * fine / fine.std() + np.sqrt(1 - share) * smooth / smooth.std()
        return lambda seed: (part * (1 + JITTER[seed]) + 1e-3 * seed * smooth).reshape(-1, 1)

    metrics = ("train__loss", "train__accuracy", "test__loss", "test__accuracy")
    for name, share, noise in (
        ("150", sharp_small, noise_small),
        ("150_short", sharp_short or sharp_small, noise_small),
        ("1500", 0.5, 0.1),
    ):
        curves = {metric: white(0, noise) for metric in metrics}
        runs.put(f"softmax_{name}", gradient, weights=images(share), **curves)


def uneven(runs, *gradients):
    """Let the noise of the seeds differ: seeds that agree give no interval."""
    for run in runs.curves:
        if run[0].cell.gradient in gradients:
            runs.curves[run] = runs.curves[run] * (1 + 100 * JITTER[run[0].seed])


def test_smaller_batch_blurrier_and_noisier():
    """Blur and noise are judged apart, and for each gradient."""
    runs = Known()
    batches(runs, REPORT, sharp_small=0.2, noise_small=0.3)
    batches(runs, EXACT, sharp_small=0.2, noise_small=0.3)
    uneven(runs, REPORT, EXACT)
    assert verdict(report_softmax.smaller_batch, runs) == "holds"
    batches(runs, REPORT, sharp_small=0.8, noise_small=0.3)
    uneven(runs, REPORT)
    found = verdict(report_softmax.smaller_batch, runs)
    assert found.startswith("blurrier images at equal epochs: holds only with the exact gradient")
    assert "noisier curves at equal epochs: holds; " in found


def test_the_effect_of_steps_is_separated_from_that_of_the_batch():
    """Images that are blurrier only because more steps were taken are reported as such."""
    runs = Known()
    for gradient in (REPORT, EXACT):
        batches(runs, gradient, sharp_small=0.2, noise_small=0.3, sharp_short=0.6)
    for run in list(runs.curves):
        runs.curves[run] = runs.curves[run] * (1 + 100 * JITTER[run[0].seed])
    found = verdict(report_softmax.smaller_batch, runs)
    assert "blurrier images at equal epochs: holds; " in found
    assert "blurrier images at equal steps: does not hold; " in found


FALLING, CLIMBING = np.linspace(2, 1, 50), np.r_[np.linspace(2, 1, 40), np.linspace(1, 1.1, 10)]


@pytest.mark.parametrize(
    ("report", "exact", "expected"),
    [
        (CLIMBING, FALLING, "holds only with the report's gradient"),
        (CLIMBING, CLIMBING, "holds"),
        (FALLING, FALLING, "does not hold"),
    ],
)
def test_a_rising_cost_is_seen(report, exact, expected):
    """A curve that ends above its minimum has risen, one that ends on it has not."""
    runs = Known()
    for name in report_softmax.RATES[1:]:
        for gradient, curve in ((REPORT, report), (EXACT, exact)):
            runs.put(name, gradient, train__loss=curve, test__loss=curve)
    assert verdict(report_softmax.cost_rises_again, runs) == expected


def test_train_below_test_asks_for_both_differences():
    """One rate whose test cost is the larger one makes the claim fail for its gradient."""
    runs = Known()
    for gradient in (REPORT, EXACT):
        for name in report_softmax.RATES:
            runs.put(
                name,
                gradient,
                train_accuracy=0.85,
                test_accuracy=0.86,
                train_loss=0.6,
                test_loss=0.58,
            )
    for run in runs.tracked:
        run.final["test_accuracy"] += 0.1 * JITTER[run.seed]
        run.final["test_loss"] += 0.1 * JITTER[run.seed]
    assert verdict(report_softmax.train_below_test, runs) == "holds"
    runs.put(
        report_softmax.RATES[0],
        EXACT,
        train_accuracy=0.85,
        test_accuracy=0.86,
        train_loss=0.58,
        test_loss=0.6,
    )
    assert verdict(report_softmax.train_below_test, runs) == "holds only with the report's gradient"


def test_a_batch_of_all_is_compared_after_equally_many_iterations():
    """The longer run is read where the shorter one ends, not at its own end."""
    runs = Known()
    long = np.linspace(1, 0, 600)
    for gradient, offset in ((REPORT, 0.0), (EXACT, 0.02)):
        runs.put("softmax_full_001", gradient, test__loss=long, test__accuracy=1 - long)
        runs.put(
            "softmax_n",
            gradient,
            spread=2,
            test__loss=long[:60] + offset,
            test__accuracy=1 - long[:60],
        )
    assert verdict(report_softmax.batch_of_all, runs) == "holds only with the report's gradient"


SAW, QUIET = 0.05 * (np.arange(400) % 8), np.zeros(400)


@pytest.mark.parametrize(
    ("once", "expected"),
    [(QUIET, "holds only with a rate that restarts every epoch"), (SAW, "holds")],
)
def test_oscillation_is_attributed_to_the_restart(once, expected):
    """A rate that falls once and does not swing leaves the restart as the reason."""
    runs = Known()
    for depth in (2, 4):
        for kind, swing in (("falling", SAW), ("constant", QUIET), ("once", once)):
            cell = runs.put(f"network_{depth}_{kind}")
            for seed, run in runs[cell].items():
                runs.curves[run, "test/loss"] = swing + white(seed, 0.02)
    assert verdict(report_networks.falling_oscillates, runs) == expected


@pytest.mark.parametrize(
    ("four", "he", "expected"),
    [
        (100, 1, "holds only with std 0.01 and rate 0.8"),
        (100, 100, "holds"),
        (1, 1, "does not hold"),
    ],
)
def test_instability_is_spread_over_seeds(four, he, expected):
    """A hundred times the spread is unstable; if He's network is calm, it was the start."""
    runs = Known()
    runs.put("network_2_constant", test_accuracy=0.977, test__loss=FALLING)
    runs.put("network_4_constant", spread=four, test_accuracy=0.93, test__loss=FALLING)
    runs.put("network_4_he_slow", spread=100, test_accuracy=0.97)
    runs.put("network_4_he_slower", spread=he, test_accuracy=0.97)
    assert verdict(report_networks.four_layers_unstable, runs) == expected


@pytest.mark.parametrize(
    ("deeper", "expected"),
    [
        (0.98, "does not hold"),
        (0.96, "holds"),
        (0.97, "not decided: no depth is better with certainty"),
    ],
)
def test_the_best_depth_is_judged_by_intervals(deeper, expected):
    """Better, worse, or within the seeds' differences."""
    runs = Known()
    runs.put("network_2_he_slow", test_accuracy=0.97)
    for depth in (3, 4):
        runs.put(f"network_{depth}_he_slow", spread=-2, test_accuracy=deeper)
    assert verdict(report_networks.two_layers_best, runs) == expected


def reached(accuracy, std=5e-4):
    return Interval.of(accuracy + std * np.array([-1.0, 0.0, 1.0]))


def test_a_search_mends_both_if_both_champions_are_sure():
    """An interval that reaches below the target is not enough; the wrong gradient is named."""
    runs = Known()
    assert "cannot be judged: the store has no finished study `softmax`" in verdict(
        report_networks.search_mends, runs
    )
    runs.champions |= {"softmax": reached(0.926), "four_layer": reached(0.985)}
    assert verdict(report_networks.search_mends, runs) == "holds"
    runs.champions["softmax_report"] = reached(0.88)
    assert verdict(report_networks.search_mends, runs) == "holds only with the exact gradient"
    runs.champions["four_layer"] = reached(0.9801)
    assert verdict(report_networks.search_mends, runs) == "does not hold"


def test_differences_are_paired_by_seed():
    """What a seed adds to both runs is no part of their difference."""
    runs = Known()
    one = runs.put("network_2_constant", spread=100, test_accuracy=0.98)
    other = runs.put("network_4_constant", spread=100, test_accuracy=0.97)
    gap = difference(runs, one, other, final("test_accuracy"))
    assert (gap.mean, gap.std) == pytest.approx((0.01, 0.0))
    assert points(gap) == "+1.00 points with each of 5 seeds"


def test_the_spread_ratio_has_the_f_interval():
    """Of equal spreads over five seeds it is 1/3.10 to 3.10, for F(0.975; 4, 4) is 9.60."""
    runs = Known()
    one = runs.put("network_2_constant", test_accuracy=0.98)
    other = runs.put("network_4_constant", test_accuracy=0.97)
    ratio = spread_ratio(runs, one, other)
    assert (ratio.low, ratio.mean, ratio.high) == pytest.approx((1 / 3.099, 1, 3.099), rel=1e-3)


def test_champions_differ_by_welchs_interval():
    """Two groups of three with equal spread: t(0.975; 4) = 2.776 standard errors."""
    runs = Known()
    runs.champions = {"four_layer": reached(0.985, 1e-3), "two_layer": reached(0.983, 1e-3)}
    gap = champions_differ(runs)
    error = 1e-3 * np.sqrt(2 / 3)
    assert gap.mean == pytest.approx(0.002)
    assert gap.high - gap.mean == pytest.approx(2.776 * error, rel=1e-3)


def test_nothing_is_judged_from_an_empty_study():
    """Nine claims and four causes stand there, each with what it lacks."""
    claims, causes = judge(CLAIMS, Known()), judge(CAUSES, Known())
    assert (len(claims), len(causes)) == (9, 4)
    for claim, finding in (*claims, *causes):
        assert finding.verdict.startswith("cannot be judged: ")
        assert claim.statement
        assert claim.rule
