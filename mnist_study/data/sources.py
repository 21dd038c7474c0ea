"""Images and labels as arrays: train, validation and test, from three sources that agree.

`python -m mnist_study.data export_png ROOT` writes MNIST as a tree of PNG files.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnist_study.data import idx_files as _idx
from mnist_study.data import png_tree as _png
from mnist_study.data.cache import Table, cached

log = logging.getLogger(__name__)

T = TypeVar("T", bound=np.generic)

Rows = NDArray[np.intp]  # row numbers

_FORMAT = 2  # of what the cache keeps; raise it when the split or the layout changes
_EMBEDDED = Path(__file__).parent / "embedded"
_SHA256 = {  # of the files as Y. LeCun, C. Cortes and C. J. C. Burges published them
    "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


@dataclass(frozen=True, slots=True)
class Split:
    """Images and their labels, row by row; read-only, and shared by processes if cached."""

    images: NDArray[np.uint8]  # (n, pixels), grey values 0..255, C-contiguous
    labels: NDArray[np.int64]  # (n,), in [0, classes)
    extents: NDArray[np.unsignedinteger[Any]]  # (n,): from this column on, an image is black


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a run learns from (train), is chosen by (validation) and is judged by (test).

    Images have their pixels in an order of their own, first the one that most training images
    light (`Table.most_lit_first` says why); `pictures` puts them back.
    """

    name: str  # "mnist", "idx:<folder>" or "png:<folder>"
    train: Split
    validation: Split  # n = 0 where nothing is held out
    test: Split
    classes: int
    image_shape: tuple[int, int]  # (height, width); pixels = height * width
    digest: str  # 32 hexadecimal digits of all arrays and the split; equal whatever the source
    pixel_order: NDArray[np.int64]  # (pixels,): the pixel, row by row, that each column holds

    def by_pixel(self, columns: NDArray[T]) -> NDArray[T]:
        """What belongs to columns of images, (pixels, ...), as a picture's pixels, row by row."""
        pixels = np.empty(columns.shape, columns.dtype)
        pixels[self.pixel_order] = columns
        return pixels

    def pictures(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images of a split, (n, pixels), as they look, (n, height, width)."""
        return self.by_pixel(images.T).T.reshape(-1, *self.image_shape)


class Source(NamedTuple):
    """Where images come from; `read` gives them with nothing held out."""

    name: str
    version: object  # changes whenever `read` would give something else
    read: Callable[[], Table]


def mnist(*, validation: int, split_seed: int, cache: str | None) -> Dataset:
    """The embedded MNIST, its checksums verified.

    Args:
        validation: how many training images are held out, each class its share; 0 for none.
        split_seed: which ones.
        cache: the folder of the unpacked arrays, made if missing; None keeps them in memory.
    Raises: ValueError for a bad argument or a damaged file, OSError for a missing one.
    """
    files = _embedded()
    source = Source("mnist", list(_SHA256.values()), lambda: _idx.read(files))
    return _dataset(source, validation, split_seed, cache)


def idx(*, root: str, validation: int, split_seed: int, cache: str | None) -> Dataset:
    """A folder of IDX files, as Fashion-MNIST or KMNIST come; the rest as `mnist`."""
    folder = _root_folder(root)
    paths = _idx.find(folder)
    stats = [(str(path), path.stat()) for path in paths]
    version = [(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in stats]

    def read() -> Table:
        return _idx.read({path: path.read_bytes() for path in paths})

    return _dataset(Source(f"idx:{folder.name}", version, read), validation, split_seed, cache)


def png(*, root: str, validation: int, split_seed: int, cache: str | None) -> Dataset:
    """A tree `Train/<label>/*.png`, `Test/<label>/*.png`; the rest as `mnist`.

    Rows are in the order of the file names, shorter names first, whatever their class.
    """
    folder = _root_folder(root)
    tree = _png.scan(folder)
    source = Source(f"png:{folder.name}", tree.version, lambda: _png.read(tree))
    return _dataset(source, validation, split_seed, cache)


def hold_out(labels: NDArray[np.int64], validation: int, seed: int) -> tuple[Rows, Rows]:
    """Which rows stay for training and which are held out, both ascending.

    Every class gives its share, `validation * its images / all images`, rounded so that the sum
    is exact: those with the largest remainders give one more (Hamilton's method, ties to the
    lower class).
    """
    if not 0 <= validation < len(labels):
        facts = f"{validation=}, training images={len(labels)}"
        raise ValueError(f"validation < training images must hold, got {facts}")
    share, remainder = np.divmod(validation * np.bincount(labels), len(labels))
    most_due = np.argsort(-remainder, kind="stable")
    share[most_due[: validation - share.sum()]] += 1
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), np.bool_)
    for label, count in enumerate(share):
        held[rng.permutation(np.flatnonzero(labels == label))[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def _dataset(source: Source, validation: int, split_seed: int, cache: str | None) -> Dataset:
    """Read `source`, or its cache, and hold out validation."""
    _check_whole("validation", validation)
    _check_whole("split_seed", split_seed)
    folder = _cache_folder(cache)

    def whole() -> Table:
        key = (_FORMAT, source.version)
        return cached(folder, key, lambda: source.read().most_lit_first())

    def split() -> Table:
        table = whole()
        rows, held = hold_out(table.labels[: table.training], validation, split_seed)
        order = np.concatenate([rows, held, np.arange(table.training, len(table.labels))])
        shape = (len(order), *table.image_shape)
        parts = Table.blank(shape, training=len(rows), validation=len(held))
        parts.order[:] = table.order
        # mode="clip" writes straight into `out`; the rows are in range
        np.take(table.images, order, axis=0, out=parts.images, mode="clip")
        np.take(table.labels, order, out=parts.labels, mode="clip")
        np.take(table.extents, order, out=parts.extents, mode="clip")
        return parts.sealed()

    if validation == 0:
        return _views(source.name, whole())
    key = (_FORMAT, source.version, validation, split_seed)
    return _views(source.name, cached(folder, key, split))


def _views(name: str, table: Table) -> Dataset:
    n = len(table.labels)
    seen = table.training + table.validation  # before the test images
    # the smallest type: NumPy sorts numbers of 16 bits ten times as fast as those of 64
    extents = table.extents.astype(np.min_scalar_type(table.images.shape[1]))

    def rows(start: int, stop: int) -> Split:
        part = slice(start, stop)
        return Split(table.images[part], table.labels[part], extents[part])

    return Dataset(
        name=name,
        train=rows(0, table.training),
        validation=rows(table.training, seen),
        test=rows(seen, n),
        classes=int(table.labels[:seen].max()) + 1,
        image_shape=table.image_shape,
        digest=table.digest,
        pixel_order=table.order,
    )


def _embedded() -> dict[Path, bytes]:
    """The four files of MNIST, verified at every start: it takes 10 ms."""
    paths = [_EMBEDDED / f"{name}-ubyte.gz" for name in _SHA256]
    files = {path: path.read_bytes() for path in paths}
    for (path, raw), expected in zip(files.items(), _SHA256.values(), strict=True):
        if (actual := hashlib.sha256(raw).hexdigest()) != expected:
            facts = f"{expected[:12]}..., got {actual[:12]}... (reinstall the package)"
            raise ValueError(f"{path}: damaged, its sha256 must be {facts}")
    return files


def _check_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be a whole number, 0 or more, got {name}={value!r}")


def _root_folder(root: str) -> Path:
    with contextlib.suppress(TypeError, RuntimeError):  # no text; ~name of nobody
        if root and (folder := Path(root).expanduser().absolute()).is_dir():
            return folder
    raise FileNotFoundError(f"root must be an existing folder, got {root=}")


def _cache_folder(cache: object) -> Path | None:
    if cache is None:
        return None
    if not isinstance(cache, str) or not cache:
        raise ValueError(f"cache must be the path of a folder or null, got {cache=}")
    try:
        return Path(cache).expanduser().absolute()
    except RuntimeError as error:  # a user without a home, as in some containers
        log.warning("the data cache %s cannot be used (%s): images stay in memory", cache, error)
        return None


def main(arguments: Sequence[str]) -> int:
    """Export MNIST (`export_png ROOT`). Returns the exit code, 2 for a user's mistake."""
    match arguments:
        case ["export_png", root] if not root.startswith("-"):
            pass
        case _:
            print("usage: python -m mnist_study.data export_png ROOT", file=sys.stderr)
            return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        table = _idx.read(_embedded())
        _png.write(Path(root).resolve(), table)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130  # as shells report Ctrl-C
    print(f"wrote {len(table.labels):,} images; train on them with data=png data.root={root}")
    return 0
