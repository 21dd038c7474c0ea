"""Where images come from: the embedded MNIST, a folder of IDX files, a tree of image files."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnist_study.data import idx_files, png_tree
from mnist_study.data.cache import cached
from mnist_study.data.contents import BACKGROUNDS
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
    class_names: tuple[str, ...]  # by label
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
    version = list(_SHA256.values())
    source = Source("mnist", tuple("0123456789"), version, lambda: idx_files.read(files))
    return _dataset(source, validation, split_seed, cache)


def idx(*, root: str, validation: int, split_seed: int, cache: str | None) -> Dataset:
    """A folder of IDX files, as Fashion-MNIST or KMNIST come; the rest as `mnist`.

    The classes are the training labels that occur: EMNIST's letters are 26, named 1 to 26.
    """
    folder = _root_folder(root)
    paths = idx_files.find(folder)
    stats = [(str(path), path.stat()) for path in paths]
    version = [(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in stats]
    class_names = idx_files.class_names(paths[1].read_bytes(), paths[1])

    def read() -> Table:
        return idx_files.read({path: path.read_bytes() for path in paths})

    source = Source(f"idx:{folder.name}", class_names, version, read)
    return _dataset(source, validation, split_seed, cache)


def png(
    *, root: str, background: str | None = None, validation: int, split_seed: int, cache: str | None
) -> Dataset:
    """A tree `Train/<class>/*.png`, `Test/<class>/*.png`; the rest as `mnist`.

    Rows are in the order of the file names, shorter names first, whatever their class.

    Args: background: "black" or "white" shows through transparent pixels; None refuses them.
    """
    if background not in (None, *BACKGROUNDS):
        names = " or ".join(BACKGROUNDS)
        raise ValueError(f"background must be {names} or null, got {background=}")
    folder = _root_folder(root)
    tree = png_tree.scan(folder)
    version = (tree.version, background)
    read = partial(png_tree.read, tree, background)
    source = Source(f"png:{folder.name}", tree.class_names, version, read)
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
        return _parts(source, whole(), folder)
    key = (source.version, validation, split_seed)
    block = cached(folder, key, lambda: split().block)
    return _parts(source, Table.from_block(block), folder)


def _parts(source: Source, table: Table, cache: Path | None) -> Dataset:
    """The dataset whose splits are views of `table`; a class without images is said."""
    seen = table.training + table.validation  # before the test images

    def rows(part: str, start: int, stop: int) -> Split:
        key = f"{table.digest} {part}"
        return Split(table.images[start:stop], table.labels[start:stop], key, cache)

    dataset = Dataset(
        name=source.name,
        train=rows("train", 0, table.training),
        validation=rows("validation", table.training, seen),
        test=rows("test", seen, len(table.labels)),
        class_names=source.class_names,
        image_shape=table.image_shape,
        digest=table.digest,
    )
    for part in ("train", "test"):
        counts = np.bincount(dataset.splits[part].labels, minlength=dataset.classes)
        if not counts.all():
            name = dataset.class_names[int(counts.argmin())]
            log.warning("%s: no %s image is of class %r", dataset.name, part, name)
    return dataset


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
