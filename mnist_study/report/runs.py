"""The runs of a report study, read back from the tracking store."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_study.config import TrackingConfig
from mnist_study.stats import Interval
from mnist_study.study.agreement import STUDY
from mnist_study.study.champion import champion_accuracy
from mnist_study.tracking.client import StoredRun, children, client_for, search_runs
from mnist_study.tracking.recorder import CURVES, THINNED

# The two gradients of the softmax; the networks have the exact one only.
GRADIENTS = REPORT, EXACT = "report", "exact"


@dataclass(frozen=True)
class Cell:
    """Runs that differ in nothing but their seed."""

    experiment: str
    gradient: str

    def __str__(self) -> str:
        """The experiment; which gradient, where there are two."""
        softmax = self.experiment.startswith("softmax")
        return f"{self.experiment}, {self.gradient} gradient" if softmax else self.experiment


def network(name: str) -> Cell:
    """A network's cell: its gradient is the exact one."""
    return Cell(f"network_{name}", EXACT)


@dataclass(frozen=True, eq=False)
class TrackedRun:
    """One run as the store has it."""

    run_id: str
    cell: Cell
    seed: int
    unfinished: str  # why; empty if it has finished
    final: Mapping[str, float]  # "train_accuracy" and so on, over whole sets
    epochs: int
    params: Mapping[str, str] = field(default_factory=dict)  # the composed configuration, flat
    thinned: bool = False  # the store's curves are; all points are in a file of the run


class History(NamedTuple):
    """Every point of one metric of a run."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(eq=False)
class ReportRuns:
    """All runs of one report study."""

    settings: TrackingConfig
    tracked: list[TrackedRun] = field(default_factory=list)  # of any outcome, oldest first
    champions: dict[str, Interval] = field(default_factory=dict)  # search -> its test accuracy

    def __getitem__(self, cell: Cell) -> dict[int, TrackedRun]:
        """The finished runs of a cell by seed; {} if there are none."""
        return {run.seed: run for run in self.tracked if run.cell == cell and not run.unfinished}

    @property
    def seeds(self) -> list[int]:
        """Every seed that the study has tried."""
        return sorted({run.seed for run in self.tracked})

    @functools.cache  # noqa: B019 - a process reads one study
    def history(self, run: TrackedRun, metric: str) -> History:
        """A metric along the run; no points if the run has none."""
        if run.thinned:
            steps, values = self._arrays(run, CURVES).get(metric, np.empty((2, 0)))
        else:
            history = client_for(self.settings).get_metric_history(run.run_id, metric)
            points = sorted((point.step, point.value) for point in history)
            steps, values = np.array(points, np.float64).reshape(-1, 2).T
        return History(steps.astype(np.int64), values)

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


def find_study(settings: TrackingConfig, name: str) -> StoredRun | None:
    """A study's own run, the newest of that name, if the store has it."""
    found = search_runs(settings, {STUDY: name, "kind": "study"})
    return found[-1] if found else None


def read_runs(settings: TrackingConfig, parent_id: str, searches: Iterable[str]) -> ReportRuns:
    """Read what the store knows of a report study, and of the champions of `searches`."""
    runs = [_tracked(run) for run in children(settings, parent_id) if "experiment" in run.data.tags]
    champions = {}
    for name in searches:
        study = find_study(settings, name)
        if study and (accuracy := champion_accuracy(study.data.metrics)):
            champions[name] = accuracy
    return ReportRuns(settings, runs, champions)


def _tracked(run: StoredRun) -> TrackedRun:
    params, tags, metrics = run.data.params, run.data.tags, run.data.metrics
    reason = tags.get("failure") or tags.get("reason") or f"ended as {run.info.status}"
    return TrackedRun(
        run_id=run.info.run_id,
        cell=Cell(tags["experiment"].removesuffix("_exact"), params["training.gradient"]),
        seed=int(params["training.seed"]),
        unfinished={"FINISHED": "", "RUNNING": "still running"}.get(run.info.status, reason),
        final={k.removeprefix("final/"): v for k, v in metrics.items() if k.startswith("final/")},
        epochs=int(params["training.epochs"]),
        params=params,
        thinned=THINNED in tags,
    )
