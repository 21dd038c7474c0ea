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
from mnist_study.layers import NARROW, Array
from mnist_study.losses import CrossEntropy, Gradient, Labels
from mnist_study.network import GREY_LEVELS, Network
from mnist_study.optimizers import Optimizer
from mnist_study.schedules import Schedule
from mnist_study.stairs import Extents, LitProducts
from mnist_study.training import (
    Batches,
    Diverged,
    EpochEnded,
    Means,
    Measured,
    Sampling,
    Score,
    Tally,
    chunks_of,
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
        for images, labels, extents in batches.epoch():
            results = columns.loss_and_gradient(images, labels, extents)
            for tally, (loss, correct) in zip(tallies, results, strict=True):
                tally.add(loss, correct, len(labels))
            rates = columns.step(results, step)
            step += 1
            if eval_every is not None and step % eval_every == 0:
                scores = [Score(loss, correct / len(labels)) for loss, correct in results]
                points.append(Point(step, rates, scores, *columns.snapshot()))
        if eval_every is None:
            points.append(Point(step, rates, [], *columns.snapshot()))
        scored = {name: score_points(points, split) for name, split in watched.items()}
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
    weights: Array  # (pixels, classes, members)
    biases: Array  # (classes, members)


class Columns:
    """The members' weights side by side; spare columns at the end are all zero.

    Class by class, a column a member: so the logits of all members, turned over, are rows of one
    (classes, members * images) matrix, and one `CrossEntropy` serves all of them.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        layers = [member.network.layers[0] for member in members]
        (pixels, classes), dtype = layers[0].weight.shape, layers[0].weight.dtype
        used, width = classes * len(members), -(-classes * len(members) // KERNEL) * KERNEL
        self.shape = (classes, len(members))
        self.weights: Array = np.zeros((pixels, width), dtype)
        self.biases: Array = np.zeros(width, dtype)
        self._weights = self.weights[:, :used].reshape(pixels, *self.shape)  # views, by member
        self._biases = self.biases[:used].reshape(self.shape)
        for k, layer in enumerate(layers):
            self._weights[:, :, k], self._biases[:, k] = layer.weight, layer.bias
        self._grads: Array = np.empty((width, pixels), dtype)
        self._bias_grads: Array = np.empty(width, dtype)
        self._chunks: dict[int, Chunk] = {}

    def snapshot(self) -> tuple[Array, Array]:
        """Copies of weights and biases, without the spare columns."""
        return self._weights.copy(), self._biases.copy()

    def loss_and_gradient(
        self, images: NDArray[np.uint8], labels: Labels, extents: Extents
    ) -> list[tuple[float, int]]:
        """Each member's loss and correct images of a batch; writes each network's `gradient`.

        The batch goes through in chunks that fit the cache, as in `Network.loss_and_gradient`.
        """
        losses, corrects = np.zeros(len(self.members)), np.zeros(len(self.members), np.intp)
        self._grads.fill(0)
        self._bias_grads.fill(0)
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            chunk = self._chunk(len(labels[part]))
            loss, correct = chunk.scores(images[part], labels[part], extents[part])
            losses += loss
            corrects += correct
            chunk.to_gradient(1 / len(labels), [member.gradient for member in self.members])
            self._grads += chunk.grads
            self._bias_grads += chunk.by_column.sum(axis=1)
        self._grads *= 1 / GREY_LEVELS
        used = math.prod(self.shape)
        grads = self._grads[:used].reshape(*self.shape, -1)  # (classes, members, pixels)
        bias_grads = self._bias_grads[:used].reshape(self.shape)
        for k, member in enumerate(self.members):
            layer = member.network.layers[0]
            layer.grad_weight[:], layer.grad_bias[:] = grads[:, k].T, bias_grads[:, k]
        return [
            (float(loss) / len(labels), int(correct))
            for loss, correct in zip(losses, corrects, strict=True)
        ]

    def step(self, results: Sequence[tuple[float, int]], step: int) -> list[float]:
        """One update of every member; the rates."""
        rates = []
        for k, member in enumerate(self.members):
            loss, _ = results[k]
            lr = member.optimizer.lr * member.schedule(step)
            if not math.isfinite(loss):
                raise Diverged(f"loss of member {k} is {loss} at step {step}, rate {lr:.3g}")
            member.optimizer.step(member.network.gradient, lr)
            layer = member.network.layers[0]
            self._weights[:, :, k], self._biases[:, k] = layer.weight, layer.bias
            rates.append(lr)
        return rates

    def _chunk(self, size: int) -> Chunk:
        if size not in self._chunks:
            self._chunks[size] = Chunk(size, self.weights, self.biases, self.shape)
        return self._chunks[size]


class Chunk:
    """Buffers for `size` images and the columns of `shape` (classes, runs), and spare ones."""

    def __init__(self, size: int, weights: Array, biases: Array, shape: tuple[int, int]) -> None:
        (pixels, width), dtype = weights.shape, weights.dtype
        classes, self.runs = shape
        self.by_column: Array = np.empty((width, size), dtype)  # logits, then their gradient
        # BLAS writes few columns as fast one after another as row by row, and many not
        rows = None if width <= NARROW else np.empty((size, width), dtype)
        self.grads: Array = np.empty((width, pixels), dtype)
        by_row = self.by_column.T
        self._lit = LitProducts(weights, by_row if rows is None else rows, by_row, self.grads.T)
        self._rows, self._biases = rows, biases[:, np.newaxis]
        self._labels = np.empty((self.runs, size), np.intp)
        by_class = self.by_column[: classes * self.runs].reshape(classes, self.runs * size)
        self._cross_entropy = CrossEntropy(self.runs * size, classes, dtype, by_class)

    def scores(
        self, images: NDArray[np.uint8], labels: Labels, extents: Extents
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Each run's loss, summed over the images, and number of correct ones."""
        self._lit.load(images, extents)  # grey values 0..255
        self._lit.to_y()
        if self._rows is not None:
            np.copyto(self.by_column, self._rows.T)
        self.by_column *= 1 / GREY_LEVELS
        self.by_column += self._biases
        self._labels[:] = labels
        losses, hits = self._cross_entropy.per_image(self._labels.reshape(-1))
        by_run = (self.runs, len(labels))
        return losses.reshape(by_run).sum(axis=1, dtype=float), hits.reshape(by_run).sum(axis=1)

    def to_gradient(self, factor: float, gradients: Sequence[Gradient]) -> None:
        """Write the gradient of `factor` times the losses: at the logits, then at the weights.

        They are in `by_column` and `grads`; the latter is yet to be divided by `GREY_LEVELS`.
        """
        size = len(self.by_column[0])
        report = [
            slice(k * size, (k + 1) * size)
            for k, gradient in enumerate(gradients)
            if gradient == "report"
        ]
        self._cross_entropy.to_gradient(factor, report)
        self._lit.to_weight()


def score_points(points: Sequence[Point], split: Split) -> list[list[Score]]:
    """The scores of all members at every point, in one product a chunk of images."""
    if not points:
        return []
    pixels, classes, members = points[0].weights.shape
    runs = len(points) * members
    weights = np.concatenate([point.weights for point in points], axis=2).reshape(pixels, -1)
    biases = np.concatenate([point.biases for point in points], axis=1).reshape(-1)
    losses, corrects = np.zeros(runs), np.zeros(runs, np.intp)
    chunks: dict[int, Chunk] = {}
    for images, labels, extents in chunks_of(split, CHUNK):
        if len(labels) not in chunks:
            chunks[len(labels)] = Chunk(len(labels), weights, biases, (classes, runs))
        loss, correct = chunks[len(labels)].scores(images, labels, extents)
        losses += loss
        corrects += correct
    n = len(split.labels)
    scores = [Score(float(a) / n, int(b) / n) for a, b in zip(losses, corrects, strict=True)]
    return [scores[i : i + members] for i in range(0, runs, members)]
