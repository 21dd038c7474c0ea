"""The figures of the report's page: its figures 2 to 6 drawn anew, and one for each cause."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_study.report.evidence import IMAGE
from mnist_study.report.figures import Band, Panel, curves, intervals, sheets
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
SHEET = "first seed; one scale for each gradient, mid-grey is 0"
METRIC = {"cost": "loss", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Drawing:
    """A figure of the page."""

    name: str  # of its PNG file
    caption: str
    png: bytes


def draw_figures(runs: ReportRuns) -> Iterator[Drawing]:
    """The report's figures 2 to 6; a figure without any run is left out."""
    full = [_splits(runs, Cell(name, REPORT), f"rate {rate}") for name, rate in RATES.items()]
    caption = "Figure 2: softmax regression, full batch, with the report's gradient."
    yield from _curves("figure2.png", caption, full)
    caption = f"Figure 3: the ten rows of W of full-batch softmax regression ({SHEET})."
    yield from _sheets(runs, "figure3.png", caption, RATES, "rate")
    mini: list[Sequence[Panel]] = []
    for name, batch in BATCHES.items():
        cell = Cell(name, REPORT)
        epochs = _splits(runs, cell, f"batch {batch}, per epoch", per_epoch=True)
        mini += zip(epochs, _splits(runs, cell, f"batch {batch}, every 5th iteration"), strict=True)
    caption = "Figure 4: softmax regression on mini-batches, with the report's gradient."
    yield from _curves("figure4.png", caption, mini)
    caption = f"Figure 5: the ten rows of W of softmax regression on mini-batches ({SHEET})."
    yield from _sheets(runs, "figure5.png", caption, BATCHES, "batch")
    networks = [
        _splits(runs, network(f"{depth}_{kind}"), f"{depth} layers, {kind} rate")
        for depth in (2, 4)
        for kind in ("constant", "falling")
    ]
    caption = "Figure 6: the networks with 2 and 4 layers, every 5th iteration."
    yield from _curves("figure6.png", caption, networks)


def draw_causes(runs: ReportRuns) -> Iterator[Drawing]:
    """A controlled experiment for each surprise: one thing changed."""
    gradient = [
        _tests(runs, {f"{g} gradient": Cell(name, g) for g in GRADIENTS}, f"rate {rate}")
        for name, rate in (("softmax_full_003", "0.03"), ("softmax_full_050", "0.5"))
    ]
    caption = "Cause 1, the gradient: full-batch softmax with the report's and with the exact one."
    yield from _curves("cause_gradient.png", caption, gradient)
    schedule = [
        _tests(runs, {kind: network(f"{depth}_{kind}") for kind in SCHEDULES},
               f"{depth} layers, last tenth", tail=0.1)
        for depth in (2, 4)
    ]  # fmt: skip
    caption = (
        "Cause 2, the schedule: a rate that falls in every epoch, once over the run, or never."
    )
    yield from _curves("cause_schedule.png", caption, schedule)
    start = {label: network(name) for label, name in STARTS.items()}
    caption = "Cause 3, the initialisation: four layers from std 0.01 at two rates, and from He's."
    yield from _curves("cause_initialisation.png", caption, [_tests(runs, start, "4 layers")])
    caption = "Cause 3, the spread over seeds: four layers from either start at either rate."
    yield from _seeds(runs, "cause_spread.png", caption, {**STARTS, "He, rate 0.8": "4_he"})
    caption = "Cause 4, depth against width: equally many parameters, He, rate 0.2."
    yield from _seeds(runs, "cause_depth.png", caption, DEPTHS)


def _splits(
    runs: ReportRuns, cell: Cell, title: str, *, per_epoch: bool = False
) -> Sequence[Panel]:
    """Train and test: a panel of cost and one of accuracy."""
    lines = {split: (cell, split) for split in ("train", "test")}
    return _row(runs, lines, f"{{}}, {title}", per_epoch=per_epoch)


def _tests(
    runs: ReportRuns, cells: Mapping[str, Cell], title: str, *, tail: float = 1.0
) -> Sequence[Panel]:
    """Several cells' test curves: a panel of cost and one of accuracy."""
    lines = {label: (cell, "test") for label, cell in cells.items()}
    return _row(runs, lines, f"test {{}}, {title}", tail=tail)


def _row(
    runs: ReportRuns, lines: Mapping[str, tuple[Cell, str]], title: str, **options: Any
) -> Sequence[Panel]:
    row = []
    for quantity, metric in METRIC.items():
        bands = {
            label: band
            for label, (cell, split) in lines.items()
            if (band := _band(runs, cell, f"{split}/{metric}", **options))
        }
        row.append(Panel(title.format(quantity), quantity, bands))
    return row


def _band(
    runs: ReportRuns, cell: Cell, metric: str, *, per_epoch: bool = False, tail: float = 1.0
) -> Band | None:
    """A metric over seeds. Args: tail: the share of the run, from its end."""
    tracked = list(runs[cell].values())
    found = [runs.history(run, metric) for run in tracked]
    length = min((len(history.steps) for history in found), default=0)
    if length == 0:
        return None
    every = max(1, length // tracked[0].epochs) if per_epoch else 1
    shown = slice(length - max(1, round(length * tail)), length // every * every)
    values = np.stack([history.values[shown] for history in found])  # (seeds, points)
    values = values.reshape(len(found), -1, every).mean(axis=2)
    final = float(np.mean([run.final[metric.replace("/", "_")] for run in tracked]))
    steps = found[0].steps[shown][every - 1 :: every]
    return Band(steps, values.mean(0), values.min(0), values.max(0), final)


def _curves(name: str, caption: str, panels: Sequence[Sequence[Panel]]) -> Iterator[Drawing]:
    if any(panel.bands for row in panels for panel in row):
        yield _drawing(name, caption, curves(panels))


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
        yield _drawing(name, caption, sheets([row for row in rows if row], IMAGE))


def _seeds(
    runs: ReportRuns, name: str, caption: str, networks: Mapping[str, str]
) -> Iterator[Drawing]:
    """Every seed's error on the test set, by network."""
    groups = {}
    for label, experiment in networks.items():
        found = runs[network(experiment)].values()
        errors = [100 * (1 - run.final["test_accuracy"]) for run in found]
        groups[f"{label} ({len(found)} runs)"] = errors
    if any(len(errors) > 1 for errors in groups.values()):
        yield _drawing(name, caption, intervals(groups, "test error"))


def _drawing(name: str, caption: str, figure: Figure) -> Drawing:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Drawing(name, caption, file.getvalue())
