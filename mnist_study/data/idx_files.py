"""IDX files, the format of MNIST and its relatives: found in a folder, checked and joined."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_study.data.table import Table

PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
RANKS = (3, 1, 3, 1)  # images are (n, height, width), labels (n,)

# Dashed or dotted, gzipped or not, and with a prefix: emnist-digits-test-images-idx3-ubyte.gz.
_NAME = re.compile(r"(?:.+-)?(?P<part>(?:train|t10k|test)-(?:images|labels))[-.]idx\d-ubyte(\.gz)?")


def find(root: Path) -> list[Path]:
    """The four files of the dataset in `root`, in the order of `PARTS`.

    Raises: FileNotFoundError if one is missing, ValueError if `root` holds several of a kind.
    """
    found: dict[str, dict[str, Path]] = {part: {} for part in PARTS}
    for path in sorted(root.iterdir(), reverse=True):  # x.gz before x: the unpacked twin wins
        if (match := _NAME.fullmatch(path.name)) and path.is_file():
            part = match["part"].replace("test-", "t10k-")
            found[part][path.name.removesuffix(".gz")] = path
    for (part, twins), rank in zip(found.items(), RANKS, strict=True):
        if not twins:
            wanted = f"{part}-idx{rank}-ubyte, dashed or dotted, .gz or not"
            raise FileNotFoundError(f"root must hold {wanted}, got root={str(root)!r} without it")
        if len(twins) > 1:
            names = ", ".join(sorted(twins))
            raise ValueError(f"root must hold one dataset, got root={str(root)!r} with {names}")
    return [path for twins in found.values() for path in twins.values()]


def parse(raw: bytes, path: Path, rank: int) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes, gzipped or not (LeCun's MNIST format).

    Args: raw, what the file `path` holds; rank, how many dimensions it must have.
    Raises: ValueError naming `path` unless it is exactly that.
    """
    if raw.startswith(b"\x1f\x8b"):  # by content: downloads are often renamed
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: must be a whole gzip file, got {error}") from error
    if not raw.startswith(b"\x00\x00\x08") or len(raw) < 4:
        start = raw[:4].hex() or "nothing"
        raise ValueError(f"{path}: must be an IDX file of unsigned bytes, starts with {start}")
    if raw[3] != rank:
        kinds = {1: "labels (rank 1)", 3: "images (rank 3)"}
        facts = f"{kinds[rank]}, holds {kinds.get(raw[3], f'an array of rank {raw[3]}')}"
        raise ValueError(f"{path}: must hold {facts}")
    start_of_data = 4 + 4 * rank
    if len(raw) < start_of_data:
        raise ValueError(f"{path}: must hold a header of {start_of_data} bytes, holds {len(raw)}")
    shape = struct.unpack(f">{rank}I", raw[4:start_of_data])
    size, promised = len(raw) - start_of_data, math.prod(shape)
    if size != promised:
        raise ValueError(f"{path}: must hold {promised} bytes after its header, holds {size}")
    return np.frombuffer(raw, np.uint8, offset=start_of_data).reshape(shape)


def read(files: Mapping[Path, bytes]) -> Table:
    """All images and labels of a dataset; `files` are its four, in the order of `PARTS`.

    Raises: ValueError naming the file that is broken or does not fit the others.
    """
    images, labels = [], []
    pairs = list(files.items())
    for (image_path, image_raw), (label_path, label_raw) in (pairs[:2], pairs[2:]):
        images.append(parse(image_raw, image_path, 3))
        labels.append(parse(label_raw, label_path, 1))
        if len(images[-1]) != len(labels[-1]) or not len(labels[-1]):
            facts = f"{len(labels[-1])}, {image_path} {len(images[-1])} images"
            raise ValueError(f"{label_path}: must hold one label an image, holds {facts}")
    if images[0].shape[1:] != images[1].shape[1:] or not images[0].size:
        (height, width), (rows, columns) = images[0].shape[1:], images[1].shape[1:]
        facts = f"{height} x {width} (as in {pairs[0][0]}), holds {rows} x {columns}"
        raise ValueError(f"{pairs[2][0]}: must hold images of {facts}")
    if labels[1].max() > labels[0].max():
        facts = f"at most {labels[0].max()}, the highest training label, holds {labels[1].max()}"
        raise ValueError(f"{pairs[3][0]}: must hold labels of {facts}")
    training, test = labels
    shape = (len(training) + len(test), *images[0].shape[1:])
    table = Table.blank(shape, training=len(training), validation=0)
    np.concatenate(images, out=table.images.reshape(shape))
    np.concatenate(labels, out=table.labels)
    return table.sealed()
