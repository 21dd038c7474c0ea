"""A dataset as one block of bytes that processes can map, and the folder that keeps blocks."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

# 32 bytes of checksum and 32 of digest, both hexadecimal, then as int64 training, validation,
# height, width, n labels, n extents and the order, then n images. n follows from the length.
_CHECKSUM, _DIGEST, _HEADER = 32, 64, 96  # where they end
_KEEP = 16  # blocks in a cache folder, about 0.9 GB of MNIST; the longest unused go first


@dataclass(frozen=True, slots=True)
class Table:
    """All images of a dataset: training rows, then validation, then test; arrays are views."""

    block: NDArray[np.uint8]  # (bytes,), all of the below
    training: int
    validation: int
    image_shape: tuple[int, int]  # (height, width); pixels = height * width
    labels: NDArray[np.int64]  # (n,)
    extents: NDArray[np.int64]  # (n,): from this column on, an image is black
    order: NDArray[np.int64]  # (pixels,): the pixel, row by row, that each column of images holds
    images: NDArray[np.uint8]  # (n, pixels)

    @classmethod
    def blank(cls, shape: tuple[int, int, int], *, training: int, validation: int) -> Table:
        """A table of n images and labels to be filled, pixels in their natural order.

        Args: shape, (n, height, width).
        """
        n, height, width = shape
        pixels = height * width
        block = np.empty(_HEADER + n * (16 + pixels) + 8 * pixels, np.uint8)
        block[_DIGEST:_HEADER].view("<i8")[:] = training, validation, height, width
        table = cls.from_block(block)
        table.extents[:], table.order[:] = pixels, np.arange(pixels)
        return table

    @classmethod
    def from_block(cls, block: NDArray[np.uint8]) -> Table:
        """The table whose bytes `block` holds; they are trusted."""
        training, validation, height, width = block[_DIGEST:_HEADER].view("<i8").tolist()
        pixels = height * width
        n = (len(block) - _HEADER - 8 * pixels) // (16 + pixels)
        ends = np.cumsum([_HEADER, 8 * n, 8 * n, 8 * pixels])
        labels, extents, order = (block[a:b].view("<i8") for a, b in itertools.pairwise(ends))
        images = block[ends[-1] :].reshape(n, pixels)
        return cls(block, training, validation, (height, width), labels, extents, order, images)

    def most_lit_first(self) -> Table:
        """The same images, their columns sorted: first the pixel that most training images light.

        An image is then black from some column on, its extent, and what is multiplied with that
        part can be left out (see `LitProducts`). Pixels lit equally often keep their order.
        """
        order = np.argsort(-np.count_nonzero(self.images[: self.training], axis=0), kind="stable")
        table = Table.blank(
            (len(self.labels), *self.image_shape),
            training=self.training,
            validation=self.validation,
        )
        table.labels[:], table.order[:] = self.labels, self.order[order]
        np.take(self.images, order, axis=1, out=table.images, mode="clip")
        table.extents[:] = extents(table.images)
        return table.sealed()

    def sealed(self) -> Table:
        """The table, once it is full: read-only, with its digest and checksum."""
        natural = self.images.take(np.argsort(self.order), axis=1)
        content = _hash(self.block[_DIGEST:_HEADER], self.labels, natural)
        self.block[_CHECKSUM:_DIGEST] = np.frombuffer(content.encode(), np.uint8)
        whole = _hash(self.block[_CHECKSUM:])
        self.block[:_CHECKSUM] = np.frombuffer(whole.encode(), np.uint8)
        self.block.flags.writeable = False
        return Table.from_block(self.block)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits: equal for equal pictures, labels and split.

        Whatever the source, and whatever the order of the pixels.
        """
        return bytes(self.block[_CHECKSUM:_DIGEST]).decode()


def extents(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The column of each row, (n,), from which on it holds zeros alone."""
    lit_from_behind = images[:, ::-1] != 0  # (n, pixels)
    extents = images.shape[1] - lit_from_behind.argmax(axis=1)
    return np.where(images.any(axis=1), extents, 0)


def _hash(*arrays: NDArray[Any]) -> str:
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(array.data)
    return sha256.hexdigest()[:32]


def cached(folder: Path | None, key: object, make: Callable[[], Table]) -> Table:
    """The table that `make` makes, memory-mapped from `folder` (None: made in memory every time).

    Args: key, all that the table depends on; its `repr` must tell any two cases apart.

    A block is written whole, then renamed, so processes that start at once at worst do the same
    work twice. A damaged one is made again. A folder that cannot be written costs one log line.
    """
    if folder is None:
        return make()
    path = folder / f"data-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.bin"
    try:
        return _load(path)
    except OSError:  # not there, or not to be read: if it matters, writing will fail too
        pass
    except ValueError as error:
        log.warning("%s is damaged (%s) and is made again", path, error)
    table = make()
    try:
        _save(path, table)
        return Table.from_block(_map(path))
    except (OSError, ValueError) as error:
        _warn_once(folder, getattr(error, "strerror", None) or str(error))
        return table


def _map(path: Path) -> NDArray[np.uint8]:
    """The block in `path`; its pages are shared with every process that maps it."""
    return np.memmap(path, np.uint8, mode="r").view(np.ndarray)


def _load(path: Path) -> Table:
    """The table in `path`. Raises: ValueError unless every byte is as it was written."""
    block = _map(path)
    if len(block) < _HEADER or bytes(block[:_CHECKSUM]) != _hash(block[_CHECKSUM:]).encode():
        raise ValueError("its checksum does not match")
    with contextlib.suppress(OSError):  # a read-only cache still serves
        os.utime(path)  # last use, for _forget
    return Table.from_block(block)


def _save(path: Path, table: Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(table.block.data)
        Path(scratch).replace(path)
    except BaseException:  # Ctrl-C too must leave no half file behind
        Path(scratch).unlink(missing_ok=True)
        raise
    _forget(path.parent)


def _forget(folder: Path) -> None:
    """Remove the longest unused blocks, and the scratch files of killed processes with them."""
    with contextlib.suppress(OSError):  # another process may be tidying too
        blocks = folder.glob(f"data-{'[0-9a-f]' * 32}.bin*")
        for path in sorted(blocks, key=lambda path: path.stat().st_mtime)[:-_KEEP]:
            path.unlink()  # a process that has it mapped keeps its pages


@functools.cache
def _warn_once(folder: Path, reason: str) -> None:
    log.warning("the data cache %s cannot be used (%s): images stay in memory", folder, reason)
