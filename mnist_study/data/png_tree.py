"""Trees of PNG files, `Train/<label>/*.png` and `Test/<label>/*.png`: listed, read, written."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnist_study.data.table import Table

T = TypeVar("T")
log = logging.getLogger(__name__)

_LINE_EVERY = 10_000  # files between two lines of progress where there is no terminal


class Tree(NamedTuple):
    """A tree whose images are not read yet."""

    root: Path
    classes: int
    version: str  # changes with any file's path, size or time


def scan(root: Path) -> Tree:
    """Look at every file in `root`, about 5 us each.

    Raises: FileNotFoundError or ValueError naming the folder that is missing, empty or misnamed.
    """
    classes, in_test = _classes(root / "Train"), _classes(root / "Test")
    if classes != in_test:
        facts = f"{classes} class folders as in Train, has {in_test}"
        raise ValueError(f"{root / 'Test'}: must hold {facts}")
    version = hashlib.sha256()
    for part in ("Train", "Test"):
        for label in range(classes):
            lines = [f"{part}/{label}", *_scan_class(root / part / str(label)), ""]
            version.update(os.fsencode("\n".join(lines)))
    return Tree(root, classes, version.hexdigest())


def _classes(part: Path) -> int:
    """The number of class folders in `part`, which must be named 0, 1, 2, ..."""
    if not part.is_dir():
        raise FileNotFoundError(f"root must hold the folders Train and Test, {part} is missing")
    names = {e.name for e in os.scandir(part) if e.is_dir() and not e.name.startswith(".")}
    if not names:
        raise ValueError(f"{part}: must hold a folder for each class, has none")
    if stray := sorted(names - {str(label) for label in range(len(names))}):
        facts = f"0 to {len(names) - 1}, as there are {len(names)}, has {stray[0]!r}"
        raise ValueError(f"{part}: class folders must be named {facts}")
    return len(names)


def _scan_class(folder: Path) -> list[str]:
    """One line a file, with all that tells that it has changed."""
    lines = []
    for entry in os.scandir(folder):
        if _is_png(entry.name):
            stat = entry.stat()  # ctime betrays a file that was replaced and its old time kept
            lines.append(f"{entry.name}/{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ctime_ns}")
    if not lines:
        raise ValueError(f"{folder}: a class folder must hold *.png files, has none")
    return sorted(lines)


def _is_png(name: str) -> bool:
    return name.lower().endswith(".png") and not name.startswith(".")


def _files(tree: Tree, part: str) -> list[tuple[str, int]]:
    """Path and label of each file of a part, in the order of their names: 2.png, then 10.png."""
    files = [
        (len(name), name, label)
        for label in range(tree.classes)
        for name in os.listdir(tree.root / part / str(label))
        if _is_png(name)
    ]
    folders = [f"{tree.root / part / str(label)}{os.sep}" for label in range(tree.classes)]
    return [(folders[label] + name, label) for _, name, label in sorted(files)]


def read(tree: Tree) -> Table:
    """Decode every file of `tree` with imageio; the first one gives the size of all.

    Raises: ValueError naming the file that is unreadable, of another kind or of another size.
    """
    training, test = _files(tree, "Train"), _files(tree, "Test")
    files = training + test
    first = files[0][0]
    shape = height, width = _read_grey(first).shape
    table = Table.blank((len(files), height, width), training=len(training), validation=0)
    for row, (path, label) in enumerate(_progress(files, "reading PNG files")):
        image = _read_grey(path)
        if image.shape != shape:
            facts = f"{height} x {width} as in {first}, has {image.shape[0]} x {image.shape[1]}"
            raise ValueError(f"{path}: must have {facts} pixels")
        table.images[row], table.labels[row] = image.reshape(-1), label
    return table.sealed()


def _read_grey(path: str) -> NDArray[np.uint8]:
    """One image, (height, width): colour becomes luminance (ITU-R BT.601), full alpha goes."""
    import imageio.v3 as iio
    from PIL import Image

    try:
        image = np.asarray(iio.imread(path, plugin="pillow"))
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, zlib.error, ...
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: must be a PNG image, cannot be read ({reason})") from error
    if image.dtype == np.bool_:  # a 1-bit PNG
        image = image.astype(np.uint8) * np.uint8(255)
    channels = image.shape[2] if image.ndim == 3 else 1
    transparent = channels in (2, 4) and (image[..., -1] < 255).any()
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels > 4 or transparent:
        facts = f"{image.dtype} of shape {image.shape}" + " with transparency" * bool(transparent)
        raise ValueError(f"{path}: must be an opaque 8-bit grey or colour image, holds {facts}")
    if image.ndim == 2:
        return image
    return np.asarray(Image.fromarray(image).convert("L"))


def write(root: Path, table: Table) -> None:
    """Write `table` as a tree; file names are row numbers, so `scan` gives the order back.

    The tree appears whole or not at all. Raises: FileExistsError unless `root` is new or empty.
    """
    import imageio.v3 as iio

    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"ROOT must be a new or empty folder, got {root}")
    rows = range(len(table.labels))
    scratch = root.with_name(f".{root.name}.{os.getpid()}.part")
    try:
        for row in _progress(rows, "writing PNG files"):
            part, k = ("Train", row) if row < table.training else ("Test", row - table.training)
            folder = scratch / part / str(table.labels[row])
            folder.mkdir(parents=True, exist_ok=True)
            iio.imwrite(folder / f"{k:05}.png", table.images[row].reshape(table.image_shape))
        scratch.replace(root)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _progress(items: Sequence[T], doing: str) -> Iterator[T]:
    """Pass `items` on: with a bar on a terminal, with a line now and then elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, doing, unit=" files")
        return
    for count, item in enumerate(items, 1):
        yield item
        if count % _LINE_EVERY == 0 or count == len(items):
            log.info("%s: %s of %s", doing, f"{count:,}", f"{len(items):,}")
