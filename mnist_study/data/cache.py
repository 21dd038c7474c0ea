"""A folder that keeps blocks of bytes: made once, memory-mapped by every process."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_study.data.table import sha256_hex

log = logging.getLogger(__name__)

Block = NDArray[np.uint8]

FORMAT = 4  # of what the cache keeps; raise it when the split or a layout changes
_CHECKSUM = 32  # hexadecimal digits in front of a block's bytes
_KEEP = 48  # files in a cache folder, about 1.5 GB of MNIST; the longest unused go first


def cached(folder: Path | None, key: object, make: Callable[[], Block]) -> Block:
    """The block that `make` makes, memory-mapped from `folder` (None: made in memory every time).

    Args: key, all that the block depends on; its `repr` must tell any two cases apart.

    A file is written whole, then renamed, so processes that start at once at worst do the same
    work twice. A damaged one is made again. A folder that cannot be written costs one log line.
    """
    if folder is None:
        return make()
    digits = hashlib.sha256(repr((FORMAT, key)).encode()).hexdigest()[:32]
    path = folder / f"data-{digits}.bin"
    try:
        return _load(path)
    except OSError:  # not there, or not to be read: if it matters, writing will fail too
        pass
    except ValueError as error:
        log.warning("%s is damaged (%s) and is made again", path, error)
    block = make()
    try:
        _save(path, block)
        return _load(path)
    except (OSError, ValueError) as error:
        _warn_once(folder, getattr(error, "strerror", None) or str(error))
        return block


def _load(path: Path) -> Block:
    """The block in `path`, its pages shared with every process that maps it.

    Raises: ValueError unless every byte is as it was written.
    """
    whole = np.memmap(path, np.uint8, mode="r").view(np.ndarray)
    block = whole[_CHECKSUM:]
    if bytes(whole[:_CHECKSUM]) != sha256_hex(block).encode():
        raise ValueError("its checksum does not match")
    with contextlib.suppress(OSError):  # a read-only cache still serves
        os.utime(path)  # last use, for _forget
    return block


def _save(path: Path, block: Block) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(sha256_hex(block).encode())
            file.write(block.data)
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
