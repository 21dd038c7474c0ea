"""The trainer: a generator of frozen events that prints nothing and knows no listener."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from mnist_study.nn.feed import Batch, Feed
from mnist_study.nn.losses import Loss
from mnist_study.nn.network import Network
from mnist_study.nn.optimizers import Optimizer
from mnist_study.nn.schedules import Schedule

Sampling = Literal["shuffle", "replacement"]


@dataclass(frozen=True, slots=True)
class Score:
    """How well a network does on some images."""

    loss: float  # nats per image
    accuracy: float  # fraction in [0, 1]


@dataclass(frozen=True, slots=True)
class Point:
    """Where training is, and how well the network does there."""

    step: int  # optimizer steps done so far, all epochs
    epoch: int  # of this step, 1 for the first
    lr: float  # the rate of this step
    scores: Mapping[str, Score]  # of "train", "validation" and, where it is watched, "test"


@dataclass(frozen=True, slots=True)
class Measured(Point):
    """Every `eval_every` iterations: "train" is this step's mini-batch, the others all images."""


@dataclass(frozen=True, slots=True)
class EpochEnded(Point):
    """An epoch is over: "train" is the mean over its mini-batches, the others that of its points.

    Where curves are not finer than an epoch, the others are the score at its end.
    """


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
    loss_function: Loss,
    training: Feed,
    watched: Mapping[str, Feed],
    *,
    epochs: int,
    batch_size: int,
    sampling: Sampling,
    eval_every: int | None,
    rng: np.random.Generator,
) -> Iterator[Measured | EpochEnded]:
    """Train in place and yield what happened; to stop early, stop iterating.

    Sets are as `network.prepare` gives them; the watched ones are scored along the way, by name, at
    every `eval_every` iterations (None: once an epoch). `rng` draws the batches.
    Raises: Diverged, with step, rate and loss, at the first non-finite loss.
    """
    batches, step = Batches(training, batch_size, sampling, rng), 0
    for epoch in range(1, epochs + 1):
        total, points = RunningScore(), list[dict[str, Score]]()
        for batch in batches.epoch():
            lr = optimizer.lr * schedule(step)
            loss, correct = network.loss_and_gradient(batch, loss_function)
            if not math.isfinite(loss):
                raise Diverged(f"loss is {loss} at step {step}, rate {lr:.3g}")
            optimizer.step(network.gradient, lr)
            step += 1
            total.add(loss, correct, len(batch.labels))
            if eval_every is not None and step % eval_every == 0:
                points.append(scores := evaluate_all(network, loss_function, watched))
                train = Score(loss, correct / len(batch.labels))
                yield Measured(step, epoch, lr, {"train": train, **scores})
        if eval_every is None:
            points.append(evaluate_all(network, loss_function, watched))
        yield EpochEnded(step, epoch, lr, {"train": total.score(), **mean_scores(points)})


def evaluate_all(
    network: Network, loss_function: Loss, feeds: Mapping[str, Feed]
) -> dict[str, Score]:
    """The score of each set, by name."""
    return {name: evaluate(network, loss_function, feed) for name, feed in feeds.items()}


def evaluate(network: Network, loss_function: Loss, feed: Feed) -> Score:
    """Mean loss and accuracy over all images of `feed`; raises ValueError if it has none."""
    if len(feed) == 0:
        raise ValueError("a score needs at least one image")
    total = RunningScore()
    for batch in feed.chunks(network.chunk):
        loss, correct = network.loss(batch, loss_function)
        total.add(loss, correct, len(batch.labels))
    return total.score()


def epoch_steps(images: int, batch_size: int, sampling: Sampling) -> int:
    """Batches in an epoch: a shuffled set's last, partial one counts; drawn ones are all whole."""
    return -(-images // batch_size) if sampling == "shuffle" else images // batch_size


class Batches:
    """Mini-batches of a training set, an epoch at a time."""

    def __init__(
        self, training: Feed, batch_size: int, sampling: Sampling, rng: np.random.Generator
    ) -> None:
        """Take `batch_size` images a batch; the last one of a shuffled epoch may be smaller.

        Raises: ValueError unless 1 <= batch_size <= images.
        """
        n = len(training)
        if not 1 <= batch_size <= n:
            raise ValueError(
                "1 <= batch_size <= training images must hold, "
                f"got batch_size={batch_size}, training images={n}"
            )
        self.training, self.batch_size, self.sampling = training, batch_size, sampling
        self.rng = rng
        self._all: Batch | None = None

    def epoch(self) -> Iterator[Batch]:
        """Yield the batches of one epoch, in reused buffers."""
        n, size = len(self.training), self.batch_size
        if self.sampling == "shuffle" and size == n:  # the whole set: one batch, copied once
            self._all = self._all or self.training.batch(np.arange(n))
            yield self._all
            return
        if self.sampling == "shuffle":
            order = self.rng.permutation(n)
        else:  # the report's draw: each batch anew from the whole set
            order = self.rng.integers(0, n, epoch_steps(n, size, self.sampling) * size)
        for start in range(0, len(order), size):
            yield self.training.batch(order[start : start + size])


class RunningScore:
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


def mean_scores(points: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    """The plain mean of each set's scores, by name."""
    return {
        name: Score(fmean(p[name].loss for p in points), fmean(p[name].accuracy for p in points))
        for name in (points[0] if points else ())
    }
