"""All images of a dataset as one block of bytes, so that processes can map it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# 32 hexadecimal digits of the digest; as int64 training, validation, height, width; then n labels
# (int64) and n images. n follows from the length.
_DIGEST, _HEADER = 32, 64  # where they end


@dataclass(frozen=True, slots=True)
class Table:
    """Training rows, then validation, then test; arrays are views of `block`."""

    block: NDArray[np.uint8]  # (bytes,), all of the below
    training: int
    validation: int
    image_shape: tuple[int, int]  # (height, width); pixels = height * width
    labels: NDArray[np.int64]  # (n,)
    images: NDArray[np.uint8]  # (n, pixels)

    @classmethod
    def blank(cls, shape: tuple[int, int, int], *, training: int, validation: int) -> Table:
        """A table of n images and labels to be filled. Args: shape, (n, height, width)."""
        n, height, width = shape
        block = np.empty(_HEADER + n * (8 + height * width), np.uint8)
        block[_DIGEST:_HEADER].view("<i8")[:] = training, validation, height, width
        return cls.from_block(block)

    @classmethod
    def from_block(cls, block: NDArray[np.uint8]) -> Table:
        """The table whose bytes `block` holds; they are trusted."""
        training, validation, height, width = block[_DIGEST:_HEADER].view("<i8").tolist()
        n = (len(block) - _HEADER) // (8 + height * width)
        images_start = _HEADER + 8 * n
        labels = block[_HEADER:images_start].view("<i8")
        images = block[images_start:].reshape(n, height * width)
        return cls(block, training, validation, (height, width), labels, images)

    def sealed(self) -> Table:
        """The table, once it is full: read-only, with its digest."""
        digest = sha256_hex(self.block[_DIGEST:_HEADER], self.labels, self.images)
        self.block[:_DIGEST] = np.frombuffer(digest.encode(), np.uint8)
        self.block.flags.writeable = False
        return Table.from_block(self.block)

    @property
    def all_equal(self) -> bool:
        """Whether the training images are equal, as strokes on a background of their colour."""
        return bool((self.images[: self.training] == self.images[0]).all())

    @property
    def digest(self) -> str:
        """32 hexadecimal digits: equal for equal pictures, labels and split."""
        return bytes(self.block[:_DIGEST]).decode()


def sha256_hex(*arrays: NDArray[Any]) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of the arrays' bytes."""
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(array.data)
    return sha256.hexdigest()[:32]
