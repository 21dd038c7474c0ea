"""The figures of the report's page: its figures 2 to 6 drawn anew, and one for each cause."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_study.report.evidence import IMAGE
from mnist_study.report.figures import Band, Panel, band, curves, intervals, sheets
from mnist_study.report.runs import GRADIENTS, REPORT, Cell, ReportRuns, network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = {"softmax_full_001": "0.01", "softmax_full_002": "0.02", "softmax_full_003": "0.03"}
BATCHES = {"softmax_150": "150", "softmax_1500": "1500"}
SCHEDULES = ("falling", "once", "constant")
STARTS = {
    "std 0.01, rate 0.8": "4_constant",
    "std 0.01, rate 0.2": "4_slow",
    "He, rate 0.2": "4_he_slow",
    "He, rate 0.1": "4_he_slower",
}
DEPTHS = {
    "2 layers of 125": "2_he_slow",
    "3 layers of 110": "3_he_slow",
    "4 layers of 100": "4_he_slow",
}
_SHEET = "first seed; one scale for each gradient, mid-grey is 0"
METRIC = {"cost": "loss", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Drawing:
    """A figure of the page."""

    name: str  # of its PNG file
    caption: str
    figure: Figure

    @functools.cached_property
    def png(self) -> bytes:
        """The content of its file."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png")
        return file.getvalue()


def draw_figures(runs: ReportRuns) -> Iterator[Drawing]:
    """The report's figures 2 to 6; a figure without any run is left out."""
    full = [
        [_splits(runs, Cell(name, REPORT), q, f"{q}, rate {rate}") for q in METRIC]
        for name, rate in RATES.items()
    ]
    caption = "Figure 2: softmax regression, full batch, with the report's gradient."
    yield from _curves("figure2.png", caption, full)
    caption = f"Figure 3: the ten rows of W of full-batch softmax regression ({_SHEET})."
    yield from _sheets(runs, "figure3.png", caption, RATES, "rate")
    mini = [
        [
            _splits(runs, Cell(name, REPORT), q, f"{q}, batch {batch}, per epoch", per_epoch=True),
            _splits(runs, Cell(name, REPORT), q, f"{q}, batch {batch}, every 5th iteration"),
        ]
        for name, batch in BATCHES.items()
        for q in METRIC
    ]
    caption = "Figure 4: softmax regression on mini-batches, with the report's gradient."
    yield from _curves("figure4.png", caption, mini)
    caption = f"Figure 5: the ten rows of W of softmax regression on mini-batches ({_SHEET})."
    yield from _sheets(runs, "figure5.png", caption, BATCHES, "batch")
    networks = [
        [_splits(runs, network(f"{depth}_{kind}"), q, f"{q}, {depth} layers, {kind} rate")
         for q in METRIC]
        for depth in (2, 4)
        for kind in ("constant", "falling")
    ]  # fmt: skip
    caption = "Figure 6: the networks with 2 and 4 layers, every 5th iteration."
    yield from _curves("figure6.png", caption, networks)


def draw_causes(runs: ReportRuns) -> Iterator[Drawing]:
    """A controlled experiment for each surprise: one thing changed."""
    gradient = [
        [_tests(runs, {f"{g} gradient": Cell(name, g) for g in GRADIENTS}, q,
                f"test {q}, rate {rate}") for q in METRIC]
        for name, rate in (("softmax_full_003", "0.03"), ("softmax_full_050", "0.5"))
    ]  # fmt: skip
    caption = "Cause 1, the gradient: full-batch softmax with the report's and with the exact one."
    yield from _curves("cause_gradient.png", caption, gradient)
    schedule = [
        [_tests(runs, {kind: network(f"{depth}_{kind}") for kind in SCHEDULES}, q,
                f"test {q}, {depth} layers, last tenth", tail=0.1) for q in METRIC]
        for depth in (2, 4)
    ]  # fmt: skip
    caption = (
        "Cause 2, the schedule: a rate that falls in every epoch, once over the run, or never."
    )
    yield from _curves("cause_schedule.png", caption, schedule)
    start = {label: network(name) for label, name in STARTS.items()}
    init = [[_tests(runs, start, q, f"test {q}, 4 layers") for q in METRIC]]
    caption = "Cause 3, the initialisation: four layers from std 0.01 at two rates, and from He's."
    yield from _curves("cause_initialisation.png", caption, init)
    caption = "Cause 3, the spread over seeds: four layers from either start at either rate."
    yield from _seeds(runs, "cause_spread.png", caption, {**STARTS, "He, rate 0.8": "4_he"})
    caption = "Cause 4, depth against width: equally many parameters, He, rate 0.2."
    yield from _seeds(runs, "cause_depth.png", caption, DEPTHS)


def _seeds(
    runs: ReportRuns, file: str, caption: str, networks: Mapping[str, str]
) -> Iterator[Drawing]:
    """Every seed's error on the test set, by network."""
    groups = {
        f"{label} ({len(found)} runs)": [
            100 * (1 - run.final["test_accuracy"]) for run in found.values()
        ]
        for label, name in networks.items()
        for found in [runs[network(name)]]
    }
    if any(len(found) > 1 for found in groups.values()):
        yield Drawing(file, caption, intervals(groups, "test error"))


def _splits(
    runs: ReportRuns, cell: Cell, quantity: str, title: str, *, per_epoch: bool = False
) -> Panel:
    """Train and test in one plot."""
    metrics = {split: f"{split}/{METRIC[quantity]}" for split in ("train", "test")}
    found = {split: _band(runs, cell, metric, per_epoch) for split, metric in metrics.items()}
    return Panel(title, quantity, {split: one for split, one in found.items() if one})


def _tests(
    runs: ReportRuns, cells: Mapping[str, Cell], quantity: str, title: str, tail: float = 1.0
) -> Panel:
    """Several cells' test curves in one plot. Args: tail: the share of the run, from its end."""
    metric = f"test/{METRIC[quantity]}"
    found = {label: _band(runs, cell, metric, tail=tail) for label, cell in cells.items()}
    return Panel(title, quantity, {label: one for label, one in found.items() if one})


def _band(
    runs: ReportRuns, cell: Cell, metric: str, per_epoch: bool = False, tail: float = 1.0
) -> Band | None:
    tracked = list(runs[cell].values())
    found = [runs.history(run, metric) for run in tracked]
    length = min((len(history.steps) for history in found), default=0)
    if length == 0:
        return None
    start = length - max(1, round(length * tail))
    every = max(1, length // tracked[0].epochs) if per_epoch else 1
    final = float(np.mean([run.final[metric.replace("/", "_")] for run in tracked]))
    values = [history.values[start:length] for history in found]
    return band(found[0].steps[start:length], values, final, every)


def _curves(name: str, caption: str, panels: list[list[Panel]]) -> Iterator[Drawing]:
    if any(panel.bands for row in panels for panel in row):
        yield Drawing(name, caption, curves(panels))


def _sheets(
    runs: ReportRuns, name: str, caption: str, cells: Mapping[str, str], word: str
) -> Iterator[Drawing]:
    rows = [
        {
            f"{word} {value}, {gradient} gradient": runs.first_weights(found[min(found)])
            for experiment, value in cells.items()
            if (found := runs[Cell(experiment, gradient)])
        }
        for gradient in GRADIENTS
    ]
    if any(rows):
        yield Drawing(name, caption, sheets([row for row in rows if row], IMAGE))
