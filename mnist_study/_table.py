"""A dataset as one block of bytes that processes can map, and the folder that keeps blocks."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

# 32 bytes of digest (hexadecimal), then four int64: training, validation, height, width;
# then n int64 labels, then n images. n follows from the length.
_DIGEST, _HEADER = 32, 64
_KEEP = 16  # blocks in a cache folder, about 0.9 GB of MNIST; the longest unused go first


@dataclass(frozen=True, slots=True)
class Table:
    """All images of a dataset: training rows, then validation, then test."""

    block: NDArray[np.uint8]  # (bytes,), all of the below
    training: int
    validation: int
    images: NDArray[np.uint8]  # (n, height, width), a view
    labels: NDArray[np.int64]  # (n,), a view

    @classmethod
    def blank(cls, shape: tuple[int, int, int], *, training: int, validation: int) -> Table:
        """A table to be filled: images of `shape` (n, height, width) and n labels."""
        n, height, width = shape
        block = np.empty(_HEADER + n * (8 + height * width), np.uint8)
        block[_DIGEST:_HEADER].view("<i8")[:] = training, validation, height, width
        return cls.from_block(block)

    @classmethod
    def from_block(cls, block: NDArray[np.uint8]) -> Table:
        """The table whose bytes `block` holds; they are trusted."""
        training, validation, height, width = block[_DIGEST:_HEADER].view("<i8").tolist()
        n = (len(block) - _HEADER) // (8 + height * width)
        labels = block[_HEADER : _HEADER + 8 * n].view("<i8")
        images = block[_HEADER + 8 * n :].reshape(n, height, width)
        return cls(block, training, validation, images, labels)

    def sealed(self) -> Table:
        """The table, once it is full: read-only, with its digest."""
        self.block[:_DIGEST] = np.frombuffer(_digest(self.block).encode(), np.uint8)
        self.block.flags.writeable = False
        return Table.from_block(self.block)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits: equal for equal images, labels and split, whatever the source."""
        return bytes(self.block[:_DIGEST]).decode()


def _digest(block: NDArray[np.uint8]) -> str:
    return hashlib.sha256(block[_DIGEST:].data).hexdigest()[:_DIGEST]


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
    if len(block) < _HEADER or bytes(block[:_DIGEST]) != _digest(block).encode():
        raise ValueError("its digest does not match")
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
