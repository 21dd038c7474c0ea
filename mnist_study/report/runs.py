"""The runs of a report study, read back from the tracking store."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_study.config import TrackingConfig
from mnist_study.stats import Interval
from mnist_study.study.champion import CHAMPION
from mnist_study.study.runs import STUDY
from mnist_study.tracking.client import children, client_for, ensure_experiment
from mnist_study.tracking.recorder import CURVES, THINNED

if TYPE_CHECKING:
    from mlflow.entities import Run

# The two gradients of the softmax; the networks have the exact one only.
REPORT, EXACT = "report", "exact"


@dataclass(frozen=True)
class Cell:
    """Runs that differ in nothing but their seed."""

    experiment: str
    gradient: str

    def __str__(self) -> str:
        """The experiment; which gradient, where there are two."""
        softmax = self.experiment.startswith("softmax")
        return f"{self.experiment}, {self.gradient} gradient" if softmax else self.experiment


@dataclass(frozen=True, eq=False)
class TrackedRun:
    """One run as the store tells it."""

    run_id: str
    cell: Cell
    seed: int
    status: str  # MLflow's
    why: str  # why it is not FINISHED
    final: Mapping[str, float]  # "train_accuracy" and so on, over whole sets
    epochs: int
    params: Mapping[str, str] = field(default_factory=dict)  # the composed configuration, flat
    thinned: bool = False  # the store's curves are; all points are in a file of the run


@dataclass(frozen=True)
class Curve:
    """One metric along a run."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(eq=False)
class ReportRuns:
    """All runs of one report study, by cell and seed."""

    settings: TrackingConfig
    runs: dict[Cell, dict[int, TrackedRun]] = field(default_factory=dict)  # finished ones
    others: list[TrackedRun] = field(default_factory=list)  # those that ended otherwise, or run yet
    champions: dict[str, Interval] = field(default_factory=dict)  # search -> its test accuracy

    def __getitem__(self, cell: Cell) -> dict[int, TrackedRun]:
        """The finished runs of a cell by seed; {} if there are none."""
        return self.runs.get(cell, {})

    @property
    def seeds(self) -> list[int]:
        """Every seed that the study has tried."""
        tried = {run.seed for run in self.others}
        return sorted(tried.union(*(self.runs[cell] for cell in self.runs)))

    @functools.cache  # noqa: B019 - one value of this class a process
    def curve(self, run: TrackedRun, metric: str) -> Curve:
        """A metric's whole history."""
        if run.thinned:
            steps, values = self._arrays(run, CURVES).get(metric, np.empty((2, 0)))
            return Curve(steps.astype(np.int64), values)
        history = client_for(self.settings).get_metric_history(run.run_id, metric)
        points = sorted((point.step, point.value) for point in history)
        steps, values = np.array(points, np.float64).reshape(-1, 2).T
        return Curve(steps.astype(np.int64), values)

    @functools.cache  # noqa: B019
    def first_weights(self, run: TrackedRun) -> NDArray[np.float32]:
        """The first layer's last weights, (pixels, units)."""
        return self._arrays(run, "weights.npz")["W1"]

    @functools.cache  # noqa: B019
    def _arrays(self, run: TrackedRun, name: str) -> dict[str, NDArray[Any]]:
        """The arrays of one of the run's .npz files."""
        with TemporaryDirectory() as folder:
            path = client_for(self.settings).download_artifacts(run.run_id, name, folder)
            with np.load(Path(path), allow_pickle=False) as arrays:
                return dict(arrays)

    def missing(self, cells: Iterable[Cell]) -> list[tuple[Cell, int, str]]:
        """Of these cells, each seed without a finished run, and why."""
        reasons = {(run.cell, run.seed): run.why for run in self.others}
        return [
            (cell, seed, reasons.get((cell, seed), "no run in this study"))
            for cell in cells
            for seed in self.seeds or [0]
            if seed not in self[cell]
        ]


def find_study(settings: TrackingConfig, name: str) -> str | None:
    """The id of a study's own run, if the store has it."""
    found = client_for(settings).search_runs(
        [ensure_experiment(settings)],
        f"tags.{STUDY} = '{name}' and tags.kind = 'study'",
        max_results=1,
    )
    return str(found[0].info.run_id) if found else None


def read_runs(settings: TrackingConfig, parent_id: str, searches: Iterable[str]) -> ReportRuns:
    """Read what the store knows of a report study, and of the champions of `searches`."""
    runs = ReportRuns(settings)
    for child in children(settings, parent_id):
        run = _tracked(child)
        if run is None:
            continue
        if run.status == "FINISHED":
            runs.runs.setdefault(run.cell, {})[run.seed] = run
        else:
            runs.others.append(run)
    for name in searches:
        champion = _champion(settings, name)
        if champion:
            runs.champions[name] = champion
    return runs


def _tracked(child: Run) -> TrackedRun | None:
    params, tags = child.data.params, child.data.tags
    experiment = tags.get("experiment")
    if experiment is None:
        return None
    final = {
        key.removeprefix("final/"): float(value)
        for key, value in child.data.metrics.items()
        if key.startswith("final/")
    }
    return TrackedRun(
        run_id=child.info.run_id,
        cell=Cell(experiment.removesuffix("_exact"), params["training.gradient"]),
        seed=int(params["training.seed"]),
        status=child.info.status,
        why=_why(child.info.status, tags),
        final=final,
        epochs=int(params["training.epochs"]),
        params=params,
        thinned=THINNED in tags,
    )


def _why(status: str, tags: Mapping[str, str]) -> str:
    if status == "RUNNING":
        return "still running"
    return tags.get("failure") or tags.get("reason") or f"ended as {status}"


def _champion(settings: TrackingConfig, study: str) -> Interval | None:
    run_id = find_study(settings, study)  # the champion's figures stand on the study's own run too
    if run_id is None:
        return None
    figures: dict[str, Any] = client_for(settings).get_run(run_id).data.metrics
    names = ("seeds", "mean", "std", "ci95_low", "ci95_high")
    keys = [f"{CHAMPION}/{'' if name == 'seeds' else 'test_accuracy_'}{name}" for name in names]
    if any(key not in figures for key in keys):
        return None
    n, *rest = (figures[key] for key in keys)
    return Interval(int(n), *rest)
