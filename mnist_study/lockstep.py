"""Softmax runs trained at once: the same batches, their weights side by side in one matrix.

BLAS needs wide matrices: three products with ten columns each take twice as long as one with
thirty. So runs that see the same batches and differ in rate, schedule or gradient share each
product, and the points of an epoch's curves are scored together when it ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_study.data import Split
from mnist_study.layers import Array
from mnist_study.losses import CrossEntropy, Gradient, Labels
from mnist_study.network import GREY_LEVELS, Network
from mnist_study.optimizers import Optimizer
from mnist_study.schedules import Schedule
from mnist_study.training import (
    Batches,
    Diverged,
    EpochEnded,
    Means,
    Measured,
    Sampling,
    Score,
    Tally,
)

CHUNK = 500  # images a product: 500 x 784 float32 are 1.6 MB, about a core's cache
KERNEL = 16  # columns that BLAS works on at once: 32 take less time than 30


@dataclass(frozen=True)
class Member:
    """One of the runs; its network has depth 1."""

    network: Network
    optimizer: Optimizer
    schedule: Schedule
    gradient: Gradient


def train_together(
    members: Sequence[Member],
    training: Split,
    watched: Mapping[str, Split],
    *,
    epochs: int,
    batch_size: int,
    sampling: Sampling,
    eval_every: int | None,
    rng: np.random.Generator,
) -> Iterator[tuple[int, Measured | EpochEnded]]:
    """Train all members in place; yield (member, event) with the events that `train` would yield.

    An epoch's events come at its end: by then the weights have gone on from the epoch's points.

    Raises: Diverged, naming the member, at the first loss of any that is not finite.
    """
    batches = Batches(training, batch_size, sampling, rng)
    columns = Columns(members)
    step = 0
    for epoch in range(1, epochs + 1):
        tallies = [Tally() for _ in members]
        points: list[Point] = []
        for images, labels in batches.epoch():
            results = columns.loss_and_gradient(images, labels)
            for tally, (loss, correct) in zip(tallies, results, strict=True):
                tally.add(loss, correct, len(labels))
            rates = columns.step(results, step)
            step += 1
            if eval_every is not None and step % eval_every == 0:
                scores = [Score(loss, correct / len(labels)) for loss, correct in results]
                points.append(Point(step, rates, scores, *columns.snapshot()))
        if eval_every is None:
            points.append(Point(step, rates, [], *columns.snapshot()))
        scored = {name: score_points(points, columns, split) for name, split in watched.items()}
        for k, tally in enumerate(tallies):
            means = Means()
            for i, point in enumerate(points):
                seen = {name: scores[i][k] for name, scores in scored.items()}
                means.add(seen)
                if eval_every is not None:
                    train = {"train": point.scores[k]}
                    yield k, Measured(point.step, epoch, point.rates[k], train | seen)
            ended = {"train": tally.score(), **means.result()}
            yield k, EpochEnded(step, epoch, rates[k], ended)


@dataclass(frozen=True, slots=True)
class Point:
    """A point of all members' curves, to be scored on the watched sets."""

    step: int
    rates: list[float]
    scores: list[Score]  # of the step's batch, member by member
    weights: Array  # (pixels, members * classes)
    biases: Array  # (members * classes,)


class Columns:
    """The members' weights side by side, ten columns each; spare ones at the end are all zero."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        layers = [member.network.layers[0] for member in members]
        (self.pixels, self.classes), dtype = layers[0].weight.shape, layers[0].weight.dtype
        self.slices = [slice(k * self.classes, (k + 1) * self.classes) for k in range(len(members))]
        width = -(-len(members) * self.classes // KERNEL) * KERNEL
        self.weights: Array = np.zeros((self.pixels, width), dtype)
        self.biases: Array = np.zeros(width, dtype)
        for own, layer in zip(self.slices, layers, strict=True):
            self.weights[:, own], self.biases[own] = layer.weight, layer.bias
        self._grads: Array = np.empty((width, self.pixels), dtype)
        self._bias_grads: Array = np.empty(width, dtype)
        self._product: Array = np.empty((width, self.pixels), dtype)
        self._chunks: dict[int, Chunk] = {}

    def snapshot(self) -> tuple[Array, Array]:
        """Copies of weights and biases, without the spare columns."""
        used = self.slices[-1].stop
        return self.weights[:, :used].copy(), self.biases[:used].copy()

    def loss_and_gradient(
        self, images: NDArray[np.uint8], labels: Labels
    ) -> list[tuple[float, int]]:
        """Each member's loss and correct images of a batch; writes each network's `gradient`.

        The batch goes through in chunks that fit the cache, as in `Network.loss_and_gradient`.
        """
        losses, corrects = [0.0] * len(self.members), [0] * len(self.members)
        self._grads.fill(0)
        self._bias_grads.fill(0)
        for start in range(0, len(labels), CHUNK):
            part = labels[start : start + CHUNK]
            chunk = self._chunk(len(part))
            logits = chunk.logits(images[start : start + CHUNK], self.weights, self.biases)
            for k, (own, member) in enumerate(zip(self.slices, self.members, strict=True)):
                loss, correct = chunk.losses[k](logits[:, own], part, member.gradient, len(labels))
                losses[k] += loss * len(part) / len(labels)
                corrects[k] += correct
            np.matmul(chunk.grads, chunk.images, out=self._product)  # (columns, pixels)
            self._grads += self._product
            self._bias_grads += chunk.grads.sum(axis=1)
        self._grads *= 1 / GREY_LEVELS
        for own, member in zip(self.slices, self.members, strict=True):
            layer = member.network.layers[0]
            layer.grad_weight[:], layer.grad_bias[:] = self._grads[own].T, self._bias_grads[own]
        return list(zip(losses, corrects, strict=True))

    def step(self, results: Sequence[tuple[float, int]], step: int) -> list[float]:
        """One update of every member; the rates."""
        rates = []
        for k, (own, member) in enumerate(zip(self.slices, self.members, strict=True)):
            loss, _ = results[k]
            lr = member.optimizer.lr * member.schedule(step)
            if not math.isfinite(loss):
                raise Diverged(f"loss of member {k} is {loss} at step {step}, rate {lr:.3g}")
            member.optimizer.step(member.network.gradient, lr)
            layer = member.network.layers[0]
            self.weights[:, own], self.biases[own] = layer.weight, layer.bias
            rates.append(lr)
        return rates

    def _chunk(self, size: int) -> Chunk:
        if size not in self._chunks:
            self._chunks[size] = Chunk(size, self.weights, self.slices)
        return self._chunks[size]


class Chunk:
    """Buffers for `size` images and all columns."""

    def __init__(self, size: int, weights: Array, slices: Sequence[slice]) -> None:
        (pixels, width), dtype = weights.shape, weights.dtype
        self.images: Array = np.empty((size, pixels), dtype)
        self._logits: Array = np.empty((size, width), dtype)
        self.grads: Array = np.zeros((width, size), dtype)  # of the losses, at the logits
        self.losses = [
            CrossEntropy(size, own.stop - own.start, dtype, self.grads[own]) for own in slices
        ]

    def logits(self, images: NDArray[np.uint8], weights: Array, biases: Array) -> Array:
        """(size, columns), overwritten by the next call."""
        np.copyto(self.images, images)  # grey values 0..255
        np.matmul(self.images, weights, out=self._logits)
        self._logits *= 1 / GREY_LEVELS
        self._logits += biases
        return self._logits


def score_points(points: Sequence[Point], columns: Columns, split: Split) -> list[list[Score]]:
    """The scores of all members at every point, in one product a chunk of images."""
    if not points:
        return []
    weights = np.concatenate([point.weights for point in points], axis=1)
    biases = np.concatenate([point.biases for point in points])
    width = len(points[0].biases)
    tallies = [[Tally() for _ in columns.slices] for _ in points]
    chunks: dict[int, Chunk] = {}
    for start in range(0, len(split.labels), CHUNK):
        labels = split.labels[start : start + CHUNK]
        if len(labels) not in chunks:  # one loss serves all: nobody asks for gradients
            chunks[len(labels)] = Chunk(len(labels), weights, columns.slices[:1])
        chunk = chunks[len(labels)]
        logits = chunk.logits(split.images[start : start + CHUNK], weights, biases)
        for i, row in enumerate(tallies):
            at_point = logits[:, i * width : (i + 1) * width]
            for member, tally in zip(columns.slices, row, strict=True):
                tally.add(*chunk.losses[0](at_point[:, member], labels, None), len(labels))
    return [[tally.score() for tally in row] for row in tallies]
