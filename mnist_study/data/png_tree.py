"""Trees of images, one folder a class below a training and a test folder: listed, read, written."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from mnist_study.data.contents import IMAGES, read_grey
from mnist_study.data.table import Table

T = TypeVar("T")
log = logging.getLogger(__name__)

PARTS = {"Train": ("train", "training"), "Test": ("test", "testing")}  # in upper case as well
NAMES = {name for names in PARTS.values() for name in names}
_LITTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # of file managers, beside hidden files
_LINE_EVERY = 10_000  # files between two lines of progress where there is no terminal


class Tree(NamedTuple):
    """A tree whose images are not read yet."""

    parts: tuple[Path, Path]  # the training and the test folder
    class_names: tuple[str, ...]  # names of the class folders, in natural order
    version: str  # changes with any file's path, size or time


def scan(root: Path) -> Tree:
    """Look at every file in `root`, about 5 us each; name in one line what is left out.

    Raises: FileNotFoundError or ValueError naming the folder that is missing, empty or misnamed.
    """
    entries = _entries(root)
    folders = [entry.name for entry in entries if entry.is_dir()]
    if len(folders) == 1 and folders[0].lower() not in NAMES:  # as archives often unpack
        root, entries = root / folders[0], _entries(root / folders[0])
    parts = _part(root, entries, "Train"), _part(root, entries, "Test")
    left_out = [e.path for e in entries if e.is_dir() and Path(e.path) not in parts]
    class_names = _class_names(parts[0], left_out)
    in_test = _class_names(parts[1], left_out)
    if odd := sorted(set(class_names) ^ set(in_test)):
        facts = f"the class folders of {parts[0]}, {'has' if odd[0] in in_test else 'lacks'}"
        raise ValueError(f"{parts[1]}: must hold {facts} {odd[0]!r}")
    version = hashlib.sha256()
    for part in parts:
        for name in class_names:
            lines = [f"{part.name}/{name}", *_scan_class(part / name, left_out), ""]
            version.update(os.fsencode("\n".join(lines)))
    if left_out:
        facts = min(left_out) + f" and {len(left_out) - 1} more" * (len(left_out) > 1)
        log.warning("%s: not part of the data set, and left out: %s", root, facts)
    return Tree(parts, class_names, version.hexdigest())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in `folder`, by name, without hidden files and other litter."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return [e for e in entries if not e.name.startswith(".") and e.name not in _LITTER]


def _part(root: Path, entries: Sequence[os.DirEntry[str]], part: str) -> Path:
    """The training or the test folder, by any of its names."""
    found = [e.name for e in entries if e.is_dir() and e.name.lower() in PARTS[part]]
    if not found:
        names = " or ".join(PARTS[part])
        facts = f"got root={str(root)!r} without {names}, upper or lower case"
        raise FileNotFoundError(f"root must hold the folders Train and Test, {facts}")
    if len(found) > 1:
        facts = f"got root={str(root)!r} with {' and '.join(found)}"
        raise ValueError(f"root must hold one {part} folder, {facts}")
    return root / found[0]


def _class_names(part: Path, left_out: list[str]) -> tuple[str, ...]:
    """The class folders in `part`, in natural order: 2 comes before 10."""
    entries = _entries(part)
    left_out += [entry.path for entry in entries if not entry.is_dir()]
    names = [entry.name for entry in entries if entry.is_dir()]
    if len(names) < 2:
        raise ValueError(f"{part}: must hold a folder for each of two or more classes, has {names}")
    if strange := [name for name in names if not name.isprintable()]:
        raise ValueError(f"{part}: class folders must have printable names, has {strange[0]!r}")
    return tuple(sorted(names, key=_natural))


def _natural(name: str) -> tuple[list[str | int], str]:
    words = re.split(r"(\d+)", name)  # text and digits in turn
    return [int(word) if i % 2 else word for i, word in enumerate(words)], name


def _scan_class(folder: Path, left_out: list[str]) -> list[str]:
    """One line an image, with all that tells that it has changed."""
    lines = []
    for entry in os.scandir(folder):
        if _is_image(entry.name):
            stat = entry.stat()  # ctime betrays a file that was replaced and its old time kept
            lines.append(f"{entry.name}/{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ctime_ns}")
        elif not entry.name.startswith(".") and entry.name not in _LITTER:
            left_out.append(entry.path)
    if not lines:
        raise ValueError(f"{folder}: a class folder must hold images (.png, .jpg), has none")
    return sorted(lines)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGES) and not name.startswith(".")


def _files(tree: Tree, part: Path) -> list[tuple[str, int]]:
    """Path and label of each image of a part, in the order of their names: 2.png, then 10.png."""
    folders = [f"{part / name}{os.sep}" for name in tree.class_names]
    files = [
        (len(name), name, label)
        for label, folder in enumerate(folders)
        for name in os.listdir(folder)
        if _is_image(name)
    ]
    return [(folders[label] + name, label) for _, name, label in sorted(files)]


def read(tree: Tree, background: str | None = None) -> Table:
    """Decode every image of `tree`; the first one gives the size of all.

    Args: background: "black" or "white" shows through transparent pixels; None refuses them.
    Raises: ValueError naming the file that is unreadable, of another kind or of another size.
    """
    training, test = (_files(tree, part) for part in tree.parts)
    files = training + test
    first = files[0][0]
    shape = height, width = read_grey(first, background).shape
    table = Table.blank((len(files), height, width), training=len(training), validation=0)
    for row, (path, label) in enumerate(_progress(files, "reading images")):
        image = read_grey(path, background)
        if image.shape != shape:
            facts = f"{height} x {width} as in {first}, has {image.shape[0]} x {image.shape[1]}"
            raise ValueError(f"{path}: must have {facts} pixels")
        table.images[row], table.labels[row] = image.reshape(-1), label
    if table.all_equal:
        raise ValueError(f"{tree.parts[0]}: images must differ, all {len(training)} are equal")
    return table.sealed()


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
