"""Where images come from: the embedded MNIST, a folder of IDX files, a tree of PNG files."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnist_study.data import idx_files, png_tree
from mnist_study.data.cache import cached
from mnist_study.data.dataset import Dataset, Split, hold_out
from mnist_study.data.table import Table

log = logging.getLogger(__name__)

_EMBEDDED = Path(__file__).parent / "embedded"
_SHA256 = {  # of the files as Y. LeCun, C. Cortes and C. J. C. Burges published them
    "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


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
    files = embedded_files()
    source = Source("mnist", list(_SHA256.values()), lambda: idx_files.read(files))
    return _dataset(source, validation, split_seed, cache)


def idx(*, root: str, validation: int, split_seed: int, cache: str | None) -> Dataset:
    """A folder of IDX files, as Fashion-MNIST or KMNIST come; the rest as `mnist`."""
    folder = _root_folder(root)
    paths = idx_files.find(folder)
    stats = [(str(path), path.stat()) for path in paths]
    version = [(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in stats]

    def read() -> Table:
        return idx_files.read({path: path.read_bytes() for path in paths})

    return _dataset(Source(f"idx:{folder.name}", version, read), validation, split_seed, cache)


def png(*, root: str, validation: int, split_seed: int, cache: str | None) -> Dataset:
    """A tree `Train/<label>/*.png`, `Test/<label>/*.png`; the rest as `mnist`.

    Rows are in the order of the file names, shorter names first, whatever their class.
    """
    folder = _root_folder(root)
    tree = png_tree.scan(folder)
    source = Source(f"png:{folder.name}", tree.version, lambda: png_tree.read(tree))
    return _dataset(source, validation, split_seed, cache)


def _dataset(source: Source, validation: int, split_seed: int, cache: str | None) -> Dataset:
    """Read `source`, or its cache, and hold out validation."""
    _check_whole("validation", validation)
    _check_whole("split_seed", split_seed)
    folder = _cache_folder(cache)

    def whole() -> Table:
        block = cached(folder, source.version, lambda: source.read().block)
        return Table.from_block(block)

    def split() -> Table:
        table = whole()
        rows, held = hold_out(table.labels[: table.training], validation, split_seed)
        order = np.concatenate([rows, held, np.arange(table.training, len(table.labels))])
        shape = (len(order), *table.image_shape)
        parts = Table.blank(shape, training=len(rows), validation=len(held))
        # mode="clip" writes straight into `out`; the rows are in range
        np.take(table.images, order, axis=0, out=parts.images, mode="clip")
        np.take(table.labels, order, out=parts.labels, mode="clip")
        return parts.sealed()

    if validation == 0:
        return _parts(source.name, whole(), folder)
    key = (source.version, validation, split_seed)
    block = cached(folder, key, lambda: split().block)
    return _parts(source.name, Table.from_block(block), folder)


def _parts(name: str, table: Table, cache: Path | None) -> Dataset:
    """The dataset whose splits are views of `table`."""
    seen = table.training + table.validation  # before the test images

    def rows(part: str, start: int, stop: int) -> Split:
        key = f"{table.digest} {part}"
        return Split(table.images[start:stop], table.labels[start:stop], key, cache)

    return Dataset(
        name=name,
        train=rows("train", 0, table.training),
        validation=rows("validation", table.training, seen),
        test=rows("test", seen, len(table.labels)),
        classes=int(table.labels[:seen].max()) + 1,
        image_shape=table.image_shape,
        digest=table.digest,
    )


def embedded_files() -> dict[Path, bytes]:
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
