"""How a network reads its images and multiplies: the plain form. `fast` has the same names.

A feed gives any rows of a set as a batch, in buffers that it uses again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mnist_study.data import Split
from mnist_study.nn.layers import Array, Matmul
from mnist_study.nn.losses import Labels

__all__ = ["Batch", "Feed", "Images", "Input", "Matmul", "output_buffer"]

Images = NDArray[np.uint8]
GREY_LEVELS = 255  # images are bytes; a network sees them divided by this, in [0, 1]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some images and their labels; valid until the feed gives the next."""

    images: Images  # (batch, pixels), grey values 0..255, pixels row by row
    labels: Labels  # (batch,)

    def part(self, start: int, stop: int) -> Batch:
        """The images `start` to `stop`, as views."""
        return Batch(self.images[start:stop], self.labels[start:stop])


class Feed:
    """Plain pictures."""

    def __init__(self, split: Split) -> None:
        # memory maps, without their subclass's overhead
        self.images, self.labels = np.asarray(split.images), np.asarray(split.labels)
        self._buffers: dict[int, Batch] = {}

    def __len__(self) -> int:
        """Images."""
        return len(self.labels)

    def batch(self, rows: NDArray[np.intp]) -> Batch:
        """The images and labels of some rows."""
        buffers = self._buffers.get(len(rows))
        if buffers is None:
            buffers = self._buffers[len(rows)] = self.empty(len(rows))
        # "clip" writes straight into `out`; rows are in range
        self.images.take(rows, axis=0, out=buffers.images, mode="clip")
        self.labels.take(rows, out=buffers.labels, mode="clip")
        return buffers

    def empty(self, size: int) -> Batch:
        """Buffers for a batch of `size` images."""
        images = np.empty((size, self.images.shape[1]), np.uint8)
        return Batch(images, np.empty(size, self.labels.dtype))

    def chunks(self, size: int) -> Iterator[Batch]:
        """All images, `size` at a time; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))


class Input(Matmul):
    """What the first layer reads, and its products: plain pictures as numbers."""

    def __init__(self, units: int) -> None:
        """Args: units: of the first layer."""
        self.units = units

    def feed(self, split: Split, weight: Array) -> Feed:
        """`split` as this input reads it. Args: weight: the first layer's, (pixels, units)."""
        return Feed(split)

    def load(self, batch: Batch, x: Array) -> None:
        """Write the grey values of `batch` into `x`, (batch, pixels), as 0..255."""
        np.copyto(x, batch.images)

    def to_pixels(self, weight: Array) -> Array:
        """A copy of the first layer's weights, (pixels, units), their rows in pixel order."""
        return weight.copy()

    def from_pixels(self, weight: Array) -> Array:
        """The opposite of `to_pixels`."""
        return weight


def output_buffer(batch: int, units: int, dtype: DTypeLike) -> Array:
    """Memory for a layer's outputs, (batch, units)."""
    return np.empty((batch, units), dtype)
