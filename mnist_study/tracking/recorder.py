"""The recorder: a run's events as records, its weights as images, its curves as figures."""

from __future__ import annotations

import io
import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_study.config import TrackingConfig
from mnist_study.data import Dataset
from mnist_study.nn.network import Network
from mnist_study.nn.training import EpochEnded, Event, Finished, Score
from mnist_study.tracking.describe import (
    dataset_fields,
    description,
    git_tags,
    param_texts,
    run_name,
)
from mnist_study.tracking.figures import Curve, curve_figure
from mnist_study.tracking.images import WEIGHT_LIMIT, encode, weight_images, weight_sheet
from mnist_study.tracking.outbox import Outbox
from mnist_study.tracking.store import without_passwords

STORE_POINTS = 1000  # of a curve that the store gets; its charts show about 300
CURVES = "curves.npz"  # every point of a run whose curves are thinned: metric -> steps and values
THINNED = "curves"  # tag of a run whose curves the store has thinned: how, and where all points are

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
    if isinstance(event, Finished):
        final = {
            f"final/{key.replace('/', '_')}": v for key, v in _score_metrics(event.scores).items()
        }
        times = (event.train_seconds, event.images_per_second)
        return final | dict(zip(("time/train_seconds", "images_per_second"), times, strict=True))
    if isinstance(event, EpochEnded) and not curves_per_epoch:
        return {f"{key}_epoch": value for key, value in _score_metrics(event.scores).items()}
    return _score_metrics(event.scores) | {"lr": event.lr}


def _score_metrics(scores: Mapping[str, Score]) -> dict[str, float]:
    losses = {f"{split}/loss": score.loss for split, score in scores.items()}
    return losses | {f"{split}/accuracy": score.accuracy for split, score in scores.items()}


class Recorder:
    """Turns one run into the records of an outbox."""

    def __init__(self, record: RunRecord, settings: TrackingConfig, uri: str) -> None:
        """Write the header, the configuration and the first weights."""
        self.record = record
        self._token = uuid.uuid4()  # marks the run in the store, whoever creates it there
        self._name = run_name(record.network, record.params)
        self.outbox = Outbox.create(record.folder, self._header(settings, uri))
        self._curves: dict[str, Curve] = {}
        self._final: dict[str, float] = {}
        self._points = 0  # of the curves, so far
        self._step = 0  # of the last event
        self._sheet_step = -1  # of the last sheet of weights
        self._sheet_files: dict[str, bytes] = {}
        self._file("config.yaml", without_passwords(record.config_yaml).encode())
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
            self._curves.setdefault(key, Curve()).add(event.step, value)
        if self._is_sent(event):
            self._append("metrics", metrics, step=event.step)
        if isinstance(event, EpochEnded) and event.epoch in SHEET_EPOCHS:
            self._sheet()

    def draw(self) -> None:
        """Record the last weights and the figures."""
        files = self._sheet()
        self._image("weights/final/sheet", files, step=0)
        self._file("weights.png", files[".png"])
        weights, titles = self._first_layer()
        kind = "unit" if titles is None else "class"
        images = weight_images(weights[:, :UNIT_IMAGES], self.record.dataset.image_shape)
        for unit, image in enumerate(images):
            self._image(f"weights/final/{kind}_{unit}", encode(image), step=0)
        self._file("weights.npz", _packed_weights(self.record))
        if self.record.stride > 1:
            self._file(CURVES, _packed_curves(self._curves))
        for quantity in ("loss", "accuracy"):
            self._file(f"{quantity}.png", self._figure(quantity))

    def end(self, status: str, tags: Mapping[str, str]) -> None:
        """Record how the run ended; nothing may follow."""
        text = description(self._name, self.record.dataset, self._final)
        self._append("tags", {"mlflow.note.content": text} | dict(tags))
        self._append("end", status)

    def _is_sent(self, event: Event) -> bool:
        """Whether the store gets this event, where its curves are thinned."""
        if isinstance(event, EpochEnded) and not self.record.curves_per_epoch:
            return True  # an epoch's means
        self._points += 1
        return self._points % self.record.stride == 0

    def _first_layer(self) -> tuple[np.ndarray[Any, Any], list[str] | None]:
        """The weights, (pixels, units), and the units' titles if each unit is a class."""
        dataset, weights = self.record.dataset, self.record.network.weights
        titles = [str(c) for c in range(dataset.classes)] if len(weights) == 1 else None
        return weights[0], titles

    def _sheet(self) -> dict[str, bytes]:
        """Record the weights as one sheet under the step, once a step; its two files."""
        if self._sheet_step != self._step:
            weights, titles = self._first_layer()
            sheet = weight_sheet(weights, self.record.dataset.image_shape, titles)
            self._sheet_step, self._sheet_files = self._step, encode(sheet)
            self._image("weights/sheet", self._sheet_files, step=self._step)
        return self._sheet_files

    def _figure(self, quantity: str) -> bytes:
        def split_curves(suffix: str) -> dict[str, Curve]:
            ending = f"/{quantity}{suffix}"
            return {
                k.removesuffix(ending): c for k, c in self._curves.items() if k.endswith(ending)
            }

        head, tail = "final/", f"_{quantity}"
        final = {
            key[len(head) : -len(tail)]: value
            for key, value in self._final.items()
            if key.startswith(head) and key.endswith(tail)
        }
        drawn = io.BytesIO()
        figure = curve_figure(quantity, split_curves(""), split_curves("_epoch"), final)
        figure.savefig(drawn, format="png", pil_kwargs={"compress_level": 3})
        return drawn.getvalue()

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
            "uri": uri,
            "experiment": settings.experiment,
            "name": settings.run_name or self._name,
            "token": self._token.hex,
            "time": _now(),
            "params": dict(param_texts(record.params)),
            "tags": tags | dict(record.tags) | dict(settings.tags),
            "parent": record.parent_run_id,
            "dataset": dataset_fields(record.dataset),
        }

    def _append(self, kind: str, value: object, **more: object) -> None:
        self.outbox.append({kind: value, **more, "time": _now()})

    def _file(self, name: str, content: bytes) -> None:
        (self.outbox.folder / name).write_bytes(content)
        self._append("artifact", name)

    def _image(self, key: str, files: Mapping[str, bytes], *, step: int) -> None:
        """Record an image under a key, as the two files by the names that MLflow's UI expects.

        MlflowClient.log_image makes a new name at each call, so an image sent twice would be there
        twice; these names are fixed. The UI's grid shows the second file.
        """
        safe = key.replace("/", "~")
        stem = f"images/{safe}+step+{step}+timestamp+{_now()}+{self._token}"
        names = {".png": f"{stem}.png", ".webp": f"{stem}+compressed.webp"}
        for extension, name in names.items():
            (self.outbox.folder / name).write_bytes(files[extension])
        self._append("image", key, files=list(names.values()))


def _packed_curves(curves: Mapping[str, Curve]) -> bytes:
    """Each curve as one array of a .npz file, (2, points): steps and values."""
    packed = io.BytesIO()
    arrays = {key: np.array([curve.steps, curve.values]) for key, curve in curves.items()}
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def _packed_weights(record: RunRecord) -> bytes:
    """All parameters as the arrays W1 b1 W2 b2 ... of a .npz file; W1 has a picture's pixels."""
    layers = enumerate(zip(record.network.weights, record.network.biases, strict=True), 1)
    arrays = {f"{name}{i}": a for i, pair in layers for name, a in zip("Wb", pair, strict=True)}
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def _now() -> int:
    """Milliseconds since 1970, MLflow's unit of time."""
    return round(time.time() * 1000)
