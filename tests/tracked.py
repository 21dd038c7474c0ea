"""A made-up run for the tests of tracking: real rooms, small arrays, no training."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_study.config import TrackingConfig
from mnist_study.data import Dataset, Split
from mnist_study.nn.network import Network
from mnist_study.nn.training import EpochEnded, Event, Finished, Measured, Score
from mnist_study.tracking import RunRecord, open_tracker
from mnist_study.tracking.recorder import metrics_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHAPE = (6, 5)


def dataset() -> Dataset:
    """Eight training, four validation and two test images of 6 x 5 pixels, ten classes."""

    def split(n: int) -> Split:
        images = np.zeros((n, math.prod(SHAPE)), np.uint8)
        return Split(images, np.arange(n) % 10)

    parts = {"train": split(8), "validation": split(4), "test": split(2)}
    names = tuple("0123456789")
    return Dataset(name="toy", class_names=names, image_shape=SHAPE, digest="d" * 32, **parts)


def settings(uri: str | None, **more: object) -> TrackingConfig:
    """A tracking section."""
    section = {"backend": "mlflow", "experiment": "toys", "run_name": None, "tags": {}}
    return TrackingConfig(uri=uri, **section | more)


def record(folder: Path, *, depth: int = 1, per_epoch: bool = False, **more: object) -> RunRecord:
    """What is known of the made-up run."""
    folder.mkdir(parents=True, exist_ok=True)
    network = Network(
        math.prod(SHAPE),
        10,
        depth=depth,
        width=12,
        activation="relu",
        init="normal",
        init_std=0.1,
        rng=np.random.default_rng(0),
    )
    params = {
        "optimizer": "Sgd",
        "optimizer.lr": 0.01,
        "model.hidden": None,
        "model.layers[0]": "x",
    }
    given = {
        "folder": folder,
        "config_yaml": "optimizer:\n  lr: 0.01\n",
        "params": params,
        "tags": {"hydra.output_dir": str(folder)},
        "dataset": dataset(),
        "network": network,
        "curves_per_epoch": per_epoch,
    }
    return RunRecord(**given | more)


def scores(step: int, *splits: str) -> dict[str, Score]:
    """Made-up scores that get better with the step."""
    loss = 0.1 + 2 / (1 + 0.1 * step)
    return {s: Score(loss + 0.01 * i, 1 - loss / 3) for i, s in enumerate(splits)}


def events(
    points: int = 8, *, every: int = 5, epoch: int = 20, pause: float = 0.0
) -> Iterator[Event]:
    """A run's events: a point every 5 iterations, an epoch every 20, the end."""
    seen = ("train", "validation")
    for step in range(every, points * every + 1, every):
        time.sleep(pause)
        yield Measured(step, 1 + (step - 1) // epoch, 0.01, scores(step, *seen))
        if step % epoch == 0:
            yield EpochEnded(step, step // epoch, 0.01, scores(step, *seen))
    yield Finished(points * every, scores(step, *seen, "test"), 1.5, 1000.0)


def track(
    uri: str,
    folder: Path,
    *,
    seen: Iterable[Event] | None = None,
    section: TrackingConfig | None = None,
    **known: object,
) -> str:
    """Track a made-up run to its end; the run's id."""
    with open_tracker(section or settings(uri), record(folder, **known)) as tracker:
        for _ in tracker.follow(events() if seen is None else seen):
            pass
    assert tracker.run_id
    return tracker.run_id


def history(client: MlflowClient, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """All points of all metrics, in the order of their steps."""
    keys = client.get_run(run_id).data.metrics
    points = {key: client.get_metric_history(run_id, key) for key in keys}
    return {key: sorted((p.step, p.value) for p in many) for key, many in points.items()}


def expected(events: Iterable[Event]) -> dict[str, list[tuple[int, float]]]:
    """The same, from the events themselves."""
    points: dict[str, list[tuple[int, float]]] = {}
    for event in events:
        step = 0 if isinstance(event, Finished) else event.step
        for key, value in metrics_of(event, curves_per_epoch=False).items():
            points.setdefault(key, []).append((step, value))
    return points


def files(client: MlflowClient, run_id: str, folder: str = "") -> list[str]:
    """Names of a run's files in an artifact folder."""
    listed = client.list_artifacts(run_id, folder or None)
    return sorted(Path(file.path).name for file in listed if not file.is_dir)


def python(code: str) -> subprocess.Popen[bytes]:
    """Start a Python that finds this package and these tests."""
    paths = {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | paths)
