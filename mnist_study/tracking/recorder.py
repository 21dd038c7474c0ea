"""The recorder: a run's events as records, its weights as images, its curves as figures."""

from __future__ import annotations

import math
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_study.config import TrackingConfig
from mnist_study.data import Dataset
from mnist_study.nn.network import Network
from mnist_study.nn.training import EpochEnded, Event, Finished
from mnist_study.tracking.describe import (
    class_param,
    dataset_fields,
    description,
    git_tags,
    param_texts,
    run_name,
    unit_keys,
)
from mnist_study.tracking.figures import Curve, curve_figure
from mnist_study.tracking.images import WEIGHT_LIMIT, encode, weight_images, weight_sheet
from mnist_study.tracking.outbox import Outbox
from mnist_study.tracking.store import without_passwords

STORE_POINTS = 1000  # of a curve that the store gets; its charts show about 300
CURVES = "curves.npz"  # every point of a run whose curves are thinned: metric -> steps and values
THINNED = "curves"  # tag of a run whose curves the store has thinned: how, and where all points are

QUANTITIES = ("loss", "accuracy")  # of a score

# Epochs after which the sheet is drawn: weights change most early, and an image costs 40 ms.
SHEET_EPOCHS = frozenset(4**k for k in range(12))
UNIT_IMAGES = 10  # units with an image of their own: MNIST's classes; of a hidden layer the first


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run before its first step."""

    folder: Path  # the run's own; `tracking` in it will hold the records
    config_yaml: str  # the composed configuration
    params: Mapping[str, object]  # the same, flat, under dotted names
    tags: Mapping[str, str]
    dataset: Dataset
    network: Network
    curves_per_epoch: bool  # training.eval_every is `epoch`: an epoch's scores are the curves
    parent_run_id: str | None = None
    points: int = 0  # of a curve, over the whole run

    @property
    def stride(self) -> int:
        """The store gets every `stride`-th point of a curve: MLflow keeps a row per number."""
        return max(1, -(-self.points // STORE_POINTS))


def metrics_of(event: Event, curves_per_epoch: bool) -> dict[str, float]:
    """The event's numbers under their MLflow keys."""
    means = isinstance(event, EpochEnded) and not curves_per_epoch
    key = "final/{}_{}" if isinstance(event, Finished) else "{}/{}_epoch" if means else "{}/{}"
    metrics: dict[str, float] = {
        key.format(split, quantity): getattr(score, quantity)
        for quantity in QUANTITIES
        for split, score in event.scores.items()
    }
    if isinstance(event, Finished):
        metrics["time/train_seconds"] = event.train_seconds
        metrics["images_per_second"] = event.images_per_second
    elif not means:
        metrics["lr"] = event.lr
    return metrics


class Recorder:
    """Turns one run into the records of an outbox."""

    def __init__(self, record: RunRecord, settings: TrackingConfig, uri: str) -> None:
        """Write the header, the configuration and the first weights."""
        self.record = record
        self._token = uuid.uuid4()  # marks the run in the store, whoever creates it there
        self._name = run_name(record.network, record.params)
        self.outbox = Outbox.create(record.folder, self._header(settings, uri), uri)
        names = record.dataset.class_names
        self._titles = names if len(record.network.weights) == 1 else None  # of the units
        self._curves: defaultdict[str, Curve] = defaultdict(list)
        self._final: dict[str, float] = {}
        self._step = 0  # of the last event
        self._last_sheet: tuple[int, dict[str, bytes]] = (-1, {})  # of weights: step and files
        with self._file("config.yaml") as path:
            path.write_text(without_passwords(record.config_yaml), encoding="utf-8")
        self._sheet()

    def write(self, event: Event) -> None:
        """Record an event."""
        self._step = event.step
        metrics = metrics_of(event, self.record.curves_per_epoch)
        # MLflow would store an infinity as 1.8e308, which ruins the scale of a chart.
        metrics = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        if isinstance(event, Finished):
            self._final = metrics
            self._append("metrics", metrics, step=0)  # a metric at step 0 is drawn as a bar
            return
        for key, value in metrics.items():
            self._curves[key].append((event.step, value))
        # The rate comes with each point of the curves, and not with an epoch's means.
        if "lr" not in metrics or len(self._curves["lr"]) % self.record.stride == 0:
            self._append("metrics", metrics, step=event.step)
        if isinstance(event, EpochEnded) and event.epoch in SHEET_EPOCHS:
            self._sheet()

    def draw(self) -> None:
        """Record the last weights and the figures."""
        files = self._sheet()
        self._image("weights/final/sheet", files, step=0)
        with self._file("weights.png") as path:
            path.write_bytes(files[".png"])
        network = self.record.network
        keys = unit_keys(UNIT_IMAGES, self._titles)
        first = network.weights[0][:, :UNIT_IMAGES]
        images = weight_images(first, self.record.dataset.image_shape)
        for key, image in zip(keys, images, strict=False):  # a layer may have fewer units
            self._image(f"weights/final/{key}", encode(image), step=0)
        arrays = {f"W{i}": weight for i, weight in enumerate(network.weights, 1)}
        arrays |= {f"b{i}": bias for i, bias in enumerate(network.biases, 1)}
        with self._file("weights.npz") as path:
            np.savez(path, allow_pickle=False, **arrays)
        if self.record.stride > 1:
            curves = {key: np.array(curve).T for key, curve in self._curves.items()}
            with self._file(CURVES) as path:
                np.savez_compressed(path, allow_pickle=False, **curves)
        for quantity in QUANTITIES:
            figure = curve_figure(quantity, self._curves, self._final)
            with self._file(f"{quantity}.png") as path:
                figure.savefig(path, pil_kwargs={"compress_level": 3})

    def end(self, status: str, tags: Mapping[str, str]) -> None:
        """Record how the run ended; nothing may follow."""
        text = description(self._name, self.record.dataset, self._final)
        self._append("tags", {"mlflow.note.content": text} | dict(tags))
        self._append("end", status)

    def _sheet(self) -> dict[str, bytes]:
        """Record the weights as one sheet under the step, once a step; its two files."""
        step, files = self._last_sheet
        if step != self._step:
            weights, shape = self.record.network.weights[0], self.record.dataset.image_shape
            files = encode(weight_sheet(weights, shape, self._titles))
            self._last_sheet = self._step, files
            self._image("weights/sheet", files, step=self._step)
        return files

    def _header(self, settings: TrackingConfig, uri: str) -> dict[str, Any]:
        """The first record: everything that the MLflow run is created with."""
        record = self.record
        tags = git_tags() | {
            "state": "running",
            "weights.scale": f"red +, blue -, white 0; depth sqrt(|w|), full at {WEIGHT_LIMIT:g}",
            "mlflow.note.content": description(self._name, record.dataset, {}),
            "mlflow.source.name": "mnist_study",
            "mlflow.loggedImages": "True",  # else the UI does not look for them
        }
        if record.stride > 1:
            tags[THINNED] = f"one of {record.stride} points, all of them in {CURVES}"
        return {
            "uri": without_passwords(uri),
            "experiment": settings.experiment,
            "name": settings.run_name or self._name,
            "token": self._token.hex,
            "time": _now(),
            "params": dict(param_texts(record.params)) | class_param(record.dataset),
            "tags": tags | dict(record.tags) | dict(settings.tags),
            "parent": record.parent_run_id,
            "dataset": dataset_fields(record.dataset),
        }

    def _append(self, kind: str, value: object, **more: object) -> None:
        self.outbox.append({kind: value, **more, "time": _now()})

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        """Record an artifact that the block writes to the path."""
        yield self.outbox.folder / name
        self._append("artifact", name)

    def _image(self, key: str, files: Mapping[str, bytes], *, step: int) -> None:
        """Record an image under a key, as the two files by the names that MLflow's UI expects.

        MlflowClient.log_image makes a new name at each call, so an image sent twice would be there
        twice; these names are fixed. The UI's grid shows the second file.
        """
        stem = f"images/{key.replace('/', '~')}+step+{step}+timestamp+{_now()}+{self._token}"
        named = {f"{stem}.png": files[".png"], f"{stem}+compressed.webp": files[".webp"]}
        for name, content in named.items():
            (self.outbox.folder / name).write_bytes(content)
        self._append("image", key, files=list(named))


def _now() -> int:
    """Milliseconds since 1970, MLflow's unit of time."""
    return round(time.time() * 1000)
