"""IDX files, the format of MNIST and its relatives: found in a folder, checked and joined."""

from __future__ import annotations

import logging
import math
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_study.data.contents import described, unpacked
from mnist_study.data.table import Table

log = logging.getLogger(__name__)

PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
RANKS = (3, 1, 3, 1)  # images are (n, height, width), labels (n,)
_QMNIST = 8  # columns of QMNIST's labels; the class is the first

# Dashed or dotted, gzipped or not, and with a prefix: emnist-digits-test-images-idx3-ubyte.gz.
_NAME = re.compile(
    r"(?:[^.].*-)?(?P<part>(?:train|t10k|test)-(?:images|labels))[-.]idx\d-(ubyte|int)(\.gz)?",
    re.IGNORECASE,
)
_TYPES = {  # IDX's code: NumPy's type
    8: ("uint8", "unsigned bytes"),
    9: ("int8", "signed bytes"),
    11: (">i2", "16-bit integers"),
    12: (">i4", "32-bit integers"),
    13: (">f4", "32-bit floats"),
    14: (">f8", "64-bit floats"),
}


def find(root: Path) -> list[Path]:
    """The four files of the dataset in `root`, or `MNIST/raw` below it, in the order of `PARTS`.

    Raises: FileNotFoundError if one is missing, ValueError if `root` holds several of a kind.
    """
    folders = [folder for folder in (root / "raw", *sorted(root.glob("*/raw"))) if _parts(folder)]
    if not _parts(root) and folders:  # torchvision's layout
        if len(folders) > 1:
            names = ", ".join(str(folder.relative_to(root)) for folder in folders)
            raise ValueError(f"root must hold one dataset, got root={str(root)!r} with {names}")
        root = folders[0]
    found = _parts(root)
    for part, rank in zip(PARTS, RANKS, strict=True):
        twins = found.get(part, {})
        if not twins:
            wanted = f"{part}-idx{rank}-ubyte, dashed or dotted, .gz or not"
            raise FileNotFoundError(f"root must hold {wanted}, got root={str(root)!r} without it")
        if len(twins) > 1:
            names = ", ".join(sorted(twins))
            raise ValueError(f"root must hold one dataset, got root={str(root)!r} with {names}")
    return [path for part in PARTS for path in found[part].values()]


def _parts(folder: Path) -> dict[str, dict[str, Path]]:
    """The IDX files in `folder` by part; a file and its own .gz are one, the unpacked one."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []:
        if (match := _NAME.fullmatch(path.name)) and path.is_file():  # x.gz comes before x
            part = match["part"].lower().replace("test-", "t10k-")
            found.setdefault(part, {})[re.sub(r"(?i)\.gz$", "", path.name)] = path
    return found


def parse(raw: bytes, path: Path) -> NDArray[Any]:
    """The array in an IDX file (LeCun's MNIST format), gzipped or not.

    Args: raw, what the file `path` holds.
    Raises: ValueError naming `path` unless it is exactly that.
    """
    raw = unpacked(raw, path)
    if raw[:2] != b"\x00\x00" or len(raw) < 4 or raw[2] not in _TYPES:
        raise ValueError(f"{path}: must be an IDX file, holds {described(raw)}")
    start_of_data, dtype = 4 + 4 * raw[3], np.dtype(_TYPES[raw[2]][0])
    if len(raw) < start_of_data:
        raise ValueError(f"{path}: must hold a header of {start_of_data} bytes, holds {len(raw)}")
    shape = struct.unpack(f">{raw[3]}I", raw[4:start_of_data])
    size, promised = len(raw) - start_of_data, math.prod(shape) * dtype.itemsize
    if size != promised:
        raise ValueError(f"{path}: must hold {promised} bytes after its header, holds {size}")
    return np.frombuffer(raw, dtype, offset=start_of_data).reshape(shape)


def _images(raw: bytes, path: Path) -> NDArray[np.uint8]:
    images = parse(raw, path)
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(f"{path}: must hold images (rank 3), holds {_kind(images)}")
    return images


def _labels(raw: bytes, path: Path) -> NDArray[np.int64]:
    """Labels of any integer type, (n,); of QMNIST's eight columns the first is the class."""
    labels = parse(raw, path)
    if labels.ndim == 2 and labels.shape[1] == _QMNIST:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(f"{path}: must hold labels (rank 1), holds {_kind(labels)}")
    if labels.size and labels.min() < 0:
        raise ValueError(f"{path}: must hold labels of 0 or more, holds {labels.min()}")
    return labels.astype(np.int64)


def _kind(array: NDArray[Any]) -> str:
    kinds = {1: "labels (rank 1)", 3: "images (rank 3)"}
    numbers = next(words for name, words in _TYPES.values() if np.dtype(name) == array.dtype)
    return f"{kinds.get(array.ndim, f'an array of rank {array.ndim}')} of {numbers}"


def class_names(raw: bytes, path: Path) -> tuple[str, ...]:
    """The classes of a dataset: what occurs in its training labels, ascending.

    A gap among them is said in one line: it may be a subset, or a damaged label.

    Args: raw, what the file `path` of training labels holds.
    Raises: ValueError naming `path` for less than two classes.
    """
    values = np.unique(_labels(raw, path)).tolist()
    if len(values) < 2:
        raise ValueError(f"{path}: must hold labels of two or more classes, holds {values}")
    if values[-1] - values[0] >= len(values):
        log.warning("%s: labels have gaps, the %s classes are %s", path, len(values), spans(values))
    return tuple(map(str, values))


def spans(values: Sequence[int]) -> str:
    """Ascending numbers in short: "0 to 9, 255"."""
    first = [v for v in values if v - 1 not in values]
    last = [v for v in values if v + 1 not in values]
    return ", ".join(f"{a} to {b}" if a < b else f"{a}" for a, b in zip(first, last, strict=True))


def read(files: Mapping[Path, bytes]) -> Table:
    """All images of a dataset, and of each the place of its label in `class_names`.

    Args: files: its four, in the order of `PARTS`.
    Raises: ValueError naming the file that is broken or does not fit the others.
    """
    images, labels = [], []
    pairs = list(files.items())
    for (image_path, image_raw), (label_path, label_raw) in (pairs[:2], pairs[2:]):
        images.append(_images(image_raw, image_path))
        labels.append(_labels(label_raw, label_path))
        if len(images[-1]) != len(labels[-1]) or not len(labels[-1]):
            facts = f"{len(labels[-1])}, {image_path} {len(images[-1])} images"
            raise ValueError(f"{label_path}: must hold one label an image, holds {facts}")
    if images[0].shape[1:] != images[1].shape[1:] or not images[0].size:
        (height, width), (rows, columns) = images[0].shape[1:], images[1].shape[1:]
        facts = f"{height} x {width} (as in {pairs[0][0]}), holds {rows} x {columns}"
        raise ValueError(f"{pairs[2][0]}: must hold images of {facts}")
    classes = np.unique(labels[0])
    if len(strangers := np.setdiff1d(labels[1], classes)):
        facts = f"{spans(classes.tolist())}, holds {strangers[0]}"
        raise ValueError(f"{pairs[3][0]}: must hold the training labels, {facts}")
    training, test = labels
    shape = (len(training) + len(test), *images[0].shape[1:])
    table = Table.blank(shape, training=len(training), validation=0)
    np.concatenate(images, out=table.images.reshape(shape))
    table.labels[:] = np.searchsorted(classes, np.concatenate(labels))
    if table.all_equal:
        raise ValueError(f"{pairs[0][0]}: images must differ, all {len(training)} are equal")
    return table.sealed()
