"""The trainer: a generator of frozen events that prints nothing and knows no listener."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_study.data import Split
from mnist_study.nn.losses import Gradient
from mnist_study.nn.network import Network
from mnist_study.nn.optimizers import Optimizer, Sgd
from mnist_study.nn.schedules import Schedule

Sampling = Literal["shuffle", "replacement"]
# images (batch, pixels), labels (batch,) and extents (batch,), which ascend
Batch = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.unsignedinteger[Any]]]


@dataclass(frozen=True, slots=True)
class Score:
    """How well a network does on some images."""

    loss: float  # nats per image
    accuracy: float  # fraction in [0, 1]


@dataclass(frozen=True, slots=True)
class Measured:
    """A point on the curves, taken every `eval_every` iterations."""

    step: int  # optimizer steps done so far, all epochs
    epoch: int  # of this step, 1 for the first
    lr: float  # the rate of this step
    scores: Mapping[str, Score]  # "train": this step's mini-batch; "validation", "test": all of it


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """An epoch is over; the same fields, as means over the epoch.

    "train" is the mean over the epoch's mini-batches. The others are the mean of the epoch's
    points, or the score at the epoch's end where curves are not finer than an epoch.
    """

    step: int
    epoch: int
    lr: float
    scores: Mapping[str, Score]


@dataclass(frozen=True, slots=True)
class Finished:
    """Training is over; scores are over whole sets: train, validation, test where allowed."""

    step: int
    scores: Mapping[str, Score]
    train_seconds: float  # training and its curves, without these last scores
    images_per_second: float  # images trained on, per second of that


Event = Measured | EpochEnded | Finished


class Diverged(Exception):  # noqa: N818 - the word of the field
    """The loss is no longer a finite number."""


def train(
    network: Network,
    optimizer: Optimizer,
    schedule: Schedule,
    training: Split,
    watched: Mapping[str, Split],
    *,
    epochs: int,
    batch_size: int,
    sampling: Sampling,
    eval_every: int | None,
    gradient: Gradient,
    rng: np.random.Generator,
) -> Iterator[Measured | EpochEnded]:
    """Train in place and yield what happened; to stop early, stop iterating.

    Args:
        schedule: factor of `optimizer.lr` as a function of the step, 0 for the first.
        watched: sets to score along the way, by name ("validation", "test").
        eval_every: iterations between two points of the curves; None: once an epoch.
        gradient: see `CrossEntropy`.
    Raises: Diverged, with step, rate and loss, at the first non-finite loss.
    """
    batches = Batches(training, batch_size, sampling, rng)
    # lr times the gradient is the gradient of lr times the loss, which saves SGD a pass over it
    is_sgd = type(optimizer) is Sgd
    step = 0
    for epoch in range(1, epochs + 1):
        total, points = Tally(), Means()
        for images, labels, extents in batches.epoch():
            lr = optimizer.lr * schedule(step)
            scale = lr if is_sgd else 1.0
            loss, correct = network.loss_and_gradient(images, labels, gradient, scale, extents)
            if not math.isfinite(loss):
                raise Diverged(f"loss is {loss} at step {step}, rate {lr:.3g}")
            optimizer.step(network.gradient, 1.0 if is_sgd else lr)
            step += 1
            total.add(loss, correct, len(labels))
            if eval_every is not None and step % eval_every == 0:
                scores = {name: evaluate(network, split) for name, split in watched.items()}
                points.add(scores)
                batch_score = Score(loss, correct / len(labels))
                yield Measured(step, epoch, lr, {"train": batch_score, **scores})
        if eval_every is None:
            points.add({name: evaluate(network, split) for name, split in watched.items()})
        yield EpochEnded(step, epoch, lr, {"train": total.score(), **points.result()})


def evaluate(network: Network, split: Split) -> Score:
    """Mean loss and accuracy over all images of `split`; raises ValueError if it has none."""
    if len(split.labels) == 0:
        raise ValueError("a score needs at least one image")
    total = Tally()
    for images, labels, extents in chunks_of(split, network.chunk):
        loss, correct = network.loss(images, labels, extents)
        total.add(loss, correct, len(labels))
    return total.score()


def epoch_steps(images: int, batch_size: int, sampling: Sampling) -> int:
    """Batches in an epoch: a shuffled set's last, partial one counts; drawn ones are all whole."""
    return -(-images // batch_size) if sampling == "shuffle" else images // batch_size


class Batches:
    """Mini-batches of a training set, an epoch at a time."""

    def __init__(
        self, training: Split, batch_size: int, sampling: Sampling, rng: np.random.Generator
    ) -> None:
        """Take `batch_size` images a batch; the last one of a shuffled epoch may be smaller.

        Raises: ValueError unless 1 <= batch_size <= images.
        """
        n = len(training.labels)
        if not 1 <= batch_size <= n:
            raise ValueError(
                "1 <= batch_size <= training images must hold, "
                f"got batch_size={batch_size}, training images={n}"
            )
        self.batch_size, self.sampling, self.rng = batch_size, sampling, rng
        self._images = n
        self._gather = Gather(training, batch_size)
        self._all: Batch | None = None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return epoch_steps(self._images, self.batch_size, self.sampling)

    def epoch(self) -> Iterator[Batch]:
        """Yield the batches of one epoch, in reused buffers."""
        n, size = self._images, self.batch_size
        if self.sampling == "shuffle" and size == n:  # the whole set: one batch, copied once
            self._all = self._all or self._gather(np.arange(n))
            yield self._all
            return
        if self.sampling == "shuffle":
            order = self.rng.permutation(n)
        else:  # the report's draw: each batch anew from the whole set
            order = self.rng.integers(0, n, len(self) * size)
        for start in range(0, len(order), size):
            yield self._gather(order[start : start + size])


class Gather:
    """Rows of a set as a batch, in buffers used again each time."""

    def __init__(self, split: Split, size: int) -> None:
        """Make buffers for up to `size` rows."""
        # memory maps, without their subclass's overhead
        self._from = [np.asarray(a) for a in (split.images, split.labels, split.extents)]
        self._to = [np.empty((size, *a.shape[1:]), a.dtype) for a in self._from]

    def __call__(self, rows: NDArray[np.intp]) -> Batch:
        """The images, labels and extents of some rows, sorted by extent (see `LitProducts`)."""
        rows = rows[np.argsort(self._from[2].take(rows), kind="stable")]
        images, labels, extents = (to[: len(rows)] for to in self._to)
        for source, to in zip(self._from, (images, labels, extents), strict=True):
            source.take(rows, axis=0, out=to, mode="clip")  # "clip" writes straight into `out`
        return images, labels, extents


def chunks_of(split: Split, size: int) -> Iterator[Batch]:
    """All rows of `split`, `size` at a time and those of least extent first, in reused buffers."""
    gather = Gather(split, min(size, len(split.labels)))
    order = np.argsort(split.extents, kind="stable")
    for start in range(0, len(order), size):
        yield gather(order[start : start + size])


class Tally:
    """Loss and hits summed over batches, so that every image counts once."""

    def __init__(self) -> None:
        self._loss, self._correct, self._images = 0.0, 0, 0

    def add(self, loss: float, correct: int, images: int) -> None:
        """Count a batch: its mean loss, and how many of its images were classified correctly."""
        self._loss += loss * images
        self._correct += correct
        self._images += images

    def score(self) -> Score:
        """The score over all images that were added."""
        return Score(self._loss / self._images, self._correct / self._images)


class Means:
    """Plain means of scores, by name."""

    def __init__(self) -> None:
        self._scores: dict[str, list[Score]] = {}

    def add(self, scores: Mapping[str, Score]) -> None:
        """Count each score once."""
        for name, score in scores.items():
            self._scores.setdefault(name, []).append(score)

    def result(self) -> dict[str, Score]:
        """The mean of each name that was added."""
        return {
            name: Score(fmean(s.loss for s in scores), fmean(s.accuracy for s in scores))
            for name, scores in self._scores.items()
        }
