"""Small datasets for the tests of data, as arrays and as files."""

from __future__ import annotations

import gzip
import struct

import numpy as np

from mnist_study.data.table import Table

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def idx_bytes(array, code=8):
    """Encode an array as LeCun describes it; by default as unsigned bytes."""
    array = np.asarray(array, TYPES[code])
    return (
        bytes([0, 0, code, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def write_idx(folder, parts, names=FILES):
    """Write four arrays as IDX files, gzipped where the name says so."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, parts, strict=True):
        pack = gzip.compress if name.endswith(".gz") else bytes
        (folder / name).write_bytes(pack(idx_bytes(array)))
    return folder


def load(source, root, *, validation=0, cache=None):
    return source(root=str(root), validation=validation, split_seed=0, cache=cache)


def toy_parts(training=12, test=6, classes=3, shape=(4, 5)):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (training + test, *shape), np.uint8)
    labels = np.arange(training + test) % classes
    return images[:training], labels[:training], images[training:], labels[training:]


def toy_table(parts):
    images = np.concatenate(parts[::2])
    table = Table.blank(images.shape, training=len(parts[0]), validation=0)
    table.images[:] = images.reshape(table.images.shape)
    table.labels[:] = np.concatenate(parts[1::2])
    return table.sealed()
