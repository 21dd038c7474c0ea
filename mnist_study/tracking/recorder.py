"""What a run leaves behind: its events as records, its weights as images, its curves as figures."""

from __future__ import annotations

import io
import math
import struct
import uuid
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mnist_study.config import TrackingConfig
from mnist_study.nn.training import EpochEnded, Event, Finished, Score
from mnist_study.tracking.figures import (
    PALETTE,
    Curve,
    Places,
    curve_figure,
    weight_images,
    weight_sheet,
)
from mnist_study.tracking.outbox import Spool
from mnist_study.tracking.record import (
    CURVES,
    RunRecord,
    description,
    header,
    now,
    without_passwords,
)

# Epochs after which the sheet is drawn: weights change most early, and an image costs 40 ms.
SHEET_EPOCHS = frozenset(4**k for k in range(12))
UNIT_IMAGES = 10  # units with an image of their own: MNIST's classes; of a hidden layer the first


def metrics_of(event: Event, curves_per_epoch: bool) -> dict[str, float]:
    """The event's numbers under their MLflow keys."""
    if isinstance(event, Finished):
        final = {f"final/{key.replace('/', '_')}": v for key, v in _flat(event.scores).items()}
        times = (event.train_seconds, event.images_per_second)
        return final | dict(zip(("time/train_seconds", "images_per_second"), times, strict=True))
    if isinstance(event, EpochEnded) and not curves_per_epoch:
        return {f"{key}_epoch": value for key, value in _flat(event.scores).items()}
    return _flat(event.scores) | {"lr": event.lr}


def _flat(scores: Mapping[str, Score]) -> dict[str, float]:
    losses = {f"{split}/loss": score.loss for split, score in scores.items()}
    return losses | {f"{split}/accuracy": score.accuracy for split, score in scores.items()}


class Recorder:
    """Turns one run into the records of a spool."""

    def __init__(self, record: RunRecord, settings: TrackingConfig, uri: str) -> None:
        """Write down what is known at the start, and the first weights."""
        self.record = record
        self._token = uuid.uuid4()  # marks the run in the store, whoever creates it there
        self.spool = Spool.create(record.folder, header(record, settings, uri, self._token.hex))
        self._curves: dict[str, Curve] = {}
        self._final: dict[str, float] = {}
        self._points = 0  # of the curves, so far
        self._step = 0  # of the last event
        self._sheet_step = -1  # of the last sheet of weights
        self._sheet_files: dict[str, bytes] = {}
        self._file("config.yaml", without_passwords(record.config_yaml).encode())
        self._sheet()

    def note(self, event: Event) -> None:
        """Write an event down."""
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
        if self._for_the_store(event):
            self._append("metrics", metrics, step=event.step)
        if isinstance(event, EpochEnded) and event.epoch in SHEET_EPOCHS:
            self._sheet()

    def picture(self) -> None:
        """Write down the last weights and the figures."""
        files = self._sheet()
        self._image("weights/final/sheet", files, step=0)
        self._file("weights.png", files[".png"])
        weights, titles = self._first_layer()
        kind = "unit" if titles is None else "class"
        images = weight_images(weights[:, :UNIT_IMAGES], self.record.dataset.image_shape)
        for unit, image in enumerate(images):
            self._image(f"weights/final/{kind}_{unit}", _encoded(image), step=0)
        self._file("weights.npz", _packed(self.record))
        if self.record.stride > 1:
            self._file(CURVES, _packed_curves(self._curves))
        for quantity in ("loss", "accuracy"):
            self._file(f"{quantity}.png", self._figure(quantity))

    def end(self, status: str, tags: Mapping[str, str]) -> None:
        """Write down how the run ended; then no more."""
        note = {"mlflow.note.content": description(self.record, self._final)}
        self._append("tags", note | dict(tags))
        self._append("end", status)

    def _for_the_store(self, event: Event) -> bool:
        """Whether a store that gets thinned curves gets this event."""
        if isinstance(event, EpochEnded) and not self.record.curves_per_epoch:
            return True  # an epoch's means
        self._points += 1
        return self._points % self.record.stride == 0

    def _first_layer(self) -> tuple[np.ndarray[Any, Any], list[str] | None]:
        """The weights, (pixels, units), and the classes that they stand for if they do."""
        dataset, weights = self.record.dataset, self.record.network.weights
        titles = [str(c) for c in range(dataset.classes)] if len(weights) == 1 else None
        return weights[0], titles

    def _sheet(self) -> dict[str, bytes]:
        """A sheet of the weights as they are, also put under its step; encoded once a step."""
        if self._sheet_step != self._step:
            weights, titles = self._first_layer()
            sheet = weight_sheet(weights, self.record.dataset.image_shape, titles)
            self._sheet_step, self._sheet_files = self._step, _encoded(sheet)
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

    def _append(self, kind: str, value: object, **more: object) -> None:
        self.spool.append({kind: value, **more, "time": now()})

    def _file(self, name: str, content: bytes) -> None:
        (self.spool.folder / name).write_bytes(content)
        self._append("artifact", name)

    def _image(self, key: str, files: Mapping[str, bytes], *, step: int) -> None:
        """An image under a key, in the two files and with the names that MLflow's UI looks for.

        MlflowClient.log_image would invent a name at each call; a name that is fixed here can be
        sent twice and is there once. The second file is what the UI shows in its grid.
        """
        safe = key.replace("/", "~")
        stem = f"images/{safe}+step+{step}+timestamp+{now()}+{self._token}"
        names = {".png": f"{stem}.png", ".webp": f"{stem}+compressed.webp"}
        for extension, name in names.items():
            (self.spool.folder / name).write_bytes(files[extension])
        self._append("image", key, files=list(names.values()))


def _encoded(image: Places) -> dict[str, bytes]:
    """The image as .png and .webp, both without loss; options as measured, for speed."""
    import imageio.v3 as iio

    fast: dict[str, Any] = {"compress_level": 1, "compress_type": zlib.Z_RLE}
    grey = iio.imwrite("<bytes>", image, extension=".png", **fast)
    fast = {"lossless": True, "quality": 10, "method": 0}
    webp = iio.imwrite("<bytes>", PALETTE.take(image, axis=0), extension=".webp", **fast)
    return {".png": _with_palette(grey), ".webp": webp}


def _with_palette(png: bytes) -> bytes:
    """A grey PNG, its grey values now places in `PALETTE`: a third of the work and size of RGB.

    Source: PNG specification, 11.2: of IHDR's 13 bytes the tenth is the colour type, 3 for a
    palette, which follows as PLTE.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = chunk(b"IHDR", png[16:25] + b"\x03" + png[26:29])  # behind 8 bytes of signature
    return png[:8] + head + chunk(b"PLTE", PALETTE.tobytes()) + png[33:]


def _packed_curves(curves: Mapping[str, Curve]) -> bytes:
    """Each curve as one array of a .npz file, (2, points): steps and values."""
    packed = io.BytesIO()
    arrays = {key: np.array([curve.steps, curve.values]) for key, curve in curves.items()}
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def _packed(record: RunRecord) -> bytes:
    """All parameters as the arrays W1 b1 W2 b2 ... of a .npz file; W1 has a picture's pixels."""
    layers = enumerate(zip(record.network.weights, record.network.biases, strict=True), 1)
    arrays = {f"{name}{i}": a for i, pair in layers for name, a in zip("Wb", pair, strict=True)}
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    return packed.getvalue()
