"""The three sources give the same arrays, and what they cannot read they name."""

from __future__ import annotations

import gzip
import logging
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from mnist_study import _idx, _png, data
from mnist_study._table import Table

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


def idx_bytes(array):
    """Encode an array of unsigned bytes as LeCun describes it."""
    array = np.asarray(array, np.uint8)
    return (
        bytes([0, 0, 8, array.ndim])
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
    table.images[:], table.labels[:] = images, np.concatenate(parts[1::2])
    return table.sealed()


def assert_same(one, other):
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, part).images, getattr(other, part).images)
        np.testing.assert_array_equal(getattr(one, part).labels, getattr(other, part).labels)
    assert (one.classes, one.image_shape) == (other.classes, other.image_shape)
    assert one.digest == other.digest


def test_mnist_is_the_published_one():
    """The embedded files give the known counts, classes and first labels."""
    mnist = data.mnist(validation=0, split_seed=0, cache=None)
    assert mnist.train.images.shape == (60_000, 784)
    assert mnist.test.images.shape == (10_000, 784)
    assert (mnist.classes, mnist.image_shape) == (10, (28, 28))
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist.train.labels).tolist() == counts
    assert mnist.train.images.mean() / 255 == pytest.approx(0.1306604762738429)
    assert mnist.train.images.dtype == np.uint8
    assert mnist.train.labels.dtype == np.int64


def test_the_three_sources_agree(tmp_path):
    """The same 3,500 digits as IDX and as PNG files are the same arrays, in the same order."""
    mnist = data.mnist(validation=0, split_seed=0, cache=None)
    square = (-1, 28, 28)
    parts = (
        mnist.train.images[:3000].reshape(square),
        mnist.train.labels[:3000],
        mnist.test.images[:500].reshape(square),
        mnist.test.labels[:500],
    )
    _png.write(tmp_path / "png", toy_table(parts))
    idx = load(data.idx, write_idx(tmp_path / "idx", parts), validation=500)
    png = load(data.png, tmp_path / "png", validation=500)
    assert (idx.name, png.name) == ("idx:idx", "png:png")
    assert_same(idx, png)
    whole = load(data.png, tmp_path / "png")
    np.testing.assert_array_equal(whole.train.images, mnist.train.images[:3000])
    np.testing.assert_array_equal(whole.test.labels, mnist.test.labels[:500])


def test_the_embedded_folder_is_an_idx_folder():
    """`idx` on MNIST's own files is `mnist`."""
    root = Path(data.__file__).parent / "mnist"
    mnist = data.mnist(validation=10_000, split_seed=0, cache=None)
    assert_same(mnist, load(data.idx, root, validation=10_000))


@pytest.mark.parametrize(
    "names",
    [
        FILES,
        [f"{name}.gz" for name in FILES],
        [name.replace("-idx", ".idx") for name in FILES],
        [f"emnist-digits-{name.replace('t10k', 'test')}.gz" for name in FILES],
    ],
    ids=["plain", "gzipped", "dotted", "emnist"],
)
def test_idx_takes_every_usual_spelling(tmp_path, names):
    """Dashed, dotted, gzipped and prefixed names do; classes and size come from the data."""
    dataset = load(data.idx, write_idx(tmp_path, toy_parts(), names))
    assert (dataset.classes, dataset.image_shape) == (3, (4, 5))
    np.testing.assert_array_equal(dataset.train.images, toy_parts()[0].reshape(12, 20))


def test_idx_prefers_the_unpacked_twin(tmp_path):
    """A file beside its own gzip is one file; the gzip, here a broken one, is left alone."""
    write_idx(tmp_path, toy_parts())
    (tmp_path / f"{FILES[0]}.gz").write_bytes(b"\x1f\x8b broken")
    assert len(load(data.idx, tmp_path).train.labels) == 12


def test_a_foreign_tree_is_in_natural_order(tmp_path):
    """2.png comes before 10.png, whatever the class; hidden and other files do not count."""
    _png.write(tmp_path / "tree", toy_table(toy_parts()))
    train = tmp_path / "tree" / "Train"
    for row in range(12):
        (train / f"{row % 3}" / f"{row:05}.png").rename(train / f"{row % 3}" / f"{row}.png")
    (train / "0" / "._1.png").write_bytes(b"not an image")
    (train / "0" / "notes.txt").write_text("not an image")
    assert load(data.png, tmp_path / "tree").train.labels.tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize("kind", ["rgb", "rgba", "grey_alpha", "bit"])
def test_png_reads_other_kinds_of_grey(tmp_path, kind):
    """Grey kept as colour, as opaque alpha or as single bits reads as the same grey."""
    _png.write(tmp_path / "tree", toy_table(toy_parts()))
    path = tmp_path / "tree" / "Train" / "0" / "00000.png"
    grey = iio.imread(path)
    opaque = np.full_like(grey, 255)
    image = {
        "rgb": np.stack([grey] * 3, axis=-1),
        "rgba": np.stack([grey] * 3 + [opaque], axis=-1),
        "grey_alpha": np.stack([grey, opaque], axis=-1),
        "bit": grey > 127,
    }[kind]
    iio.imwrite(path, image)
    expected = (grey > 127) * 255 if kind == "bit" else grey
    np.testing.assert_array_equal(
        load(data.png, tmp_path / "tree").train.images[0], expected.ravel()
    )


def unlink(name):
    return lambda root: (root / name).unlink()


def put(name, array):
    return lambda root: (root / name).write_bytes(idx_bytes(array))


def cut(name, size):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:size])


def cut_gzip(root):
    packed = gzip.compress((root / FILES[0]).read_bytes())
    (root / FILES[0]).write_bytes(packed[:-9])


def wide_png(root):
    iio.imwrite(root / "Train" / "1" / "00001.png", np.zeros((4, 6), np.uint8))


def deep_png(root):
    iio.imwrite(root / "Train" / "1" / "00001.png", np.zeros((4, 5), np.uint16))


def clear_png(root):
    iio.imwrite(root / "Test" / "1" / "00001.png", np.zeros((4, 5, 4), np.uint8))


def empty_class(root):
    for path in (root / "Train" / "2").iterdir():
        path.unlink()


IDX_FAULTS = [
    (unlink(FILES[1]), "root must hold train-labels-idx1-ubyte.*without it"),
    (put("train.idx", [1]), None),  # another file beside them does no harm
    (put(f"letters-{FILES[0]}", [1]), "root must hold one dataset.*letters-train.*, train"),
    (cut(FILES[0], -1), "train-images.*must hold 240 bytes after its header, holds 239"),
    (cut(FILES[0], 9), "train-images.*must hold a header of 16 bytes, holds 9"),
    (cut(FILES[3], 0), "t10k-labels.*must be an IDX file of unsigned bytes, starts with nothing"),
    (cut_gzip, "train-images.*must be a whole gzip file"),
    (lambda root: (root / FILES[2]).write_text("<html>"), "t10k-images.*starts with 3c68746d"),
    (put(FILES[0], [0] * 12), r"train-images.*hold images \(rank 3\), holds labels \(rank 1\)"),
    (put(FILES[1], np.zeros((12, 4, 5))), r"train-labels.*hold labels \(rank 1\), holds images"),
    (put(FILES[1], [0] * 11), "train-labels.*one label an image, holds 11, .*images.* 12 images"),
    (put(FILES[2], np.zeros((6, 5, 5))), "t10k-images.*must hold images of 4 x 5 .*holds 5 x 5"),
    (put(FILES[3], [0, 1, 2, 3, 0, 1]), "t10k-labels.*at most 2, the highest.*holds 3"),
]


@pytest.mark.parametrize(("break_it", "sentence"), IDX_FAULTS)
def test_a_broken_idx_folder_is_named(tmp_path, break_it, sentence):
    """Each fault gives one line that names the file and the fact."""
    root = write_idx(tmp_path, toy_parts())
    break_it(root)
    if sentence is None:
        assert load(data.idx, root).classes == 3
        return
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as caught:
        load(data.idx, root)
    assert "\n" not in str(caught.value)
    assert str(root) in str(caught.value)


PNG_FAULTS = [
    (
        lambda root: shutil.rmtree(root / "Test"),
        "root must hold the folders Train and Test, .*Test",
    ),
    (lambda root: (root / "Train" / "2").rename(root / "Train" / "3"), "named 0 to 2.*has '3'"),
    (lambda root: (root / "Train" / "2").rename(root / "Train" / "two"), "Train: .*has 'two'"),
    (lambda root: shutil.rmtree(root / "Test" / "2"), "Test: must hold 3 class folders.*has 2"),
    (empty_class, "Train.2: a class folder must hold .*png files, has none"),
    (lambda root: [shutil.rmtree(p) for p in (root / "Train").iterdir()], "Train: .*has none"),
    (wide_png, "1.00001.png: must have 4 x 5 as in .*00000.png, has 4 x 6 pixels"),
    (deep_png, "1.00001.png: must be an opaque 8-bit grey or colour image, holds uint16"),
    (clear_png, "Test.1.00001.png: must be an opaque 8-bit .* with transparency"),
    (cut("Train/1/00001.png", 50), "Train.1.00001.png: must be a PNG image, cannot be read"),
    (cut("Train/1/00001.png", 0), "Train.1.00001.png: must be a PNG image, cannot be read"),
    (put("Train/1/00001.png", [1]), "Train.1.00001.png: must be a PNG image, cannot be read"),
]


@pytest.mark.parametrize(("break_it", "sentence"), PNG_FAULTS)
def test_a_broken_png_tree_is_named(tmp_path, break_it, sentence):
    """Each fault gives one line that names the file or folder and the fact."""
    root = tmp_path / "tree"
    _png.write(root, toy_table(toy_parts()))
    break_it(root)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as caught:
        load(data.png, root)
    assert "\n" not in str(caught.value)
    assert str(root) in str(caught.value)


@pytest.mark.parametrize("source", [data.idx, data.png])
@pytest.mark.parametrize("root", ["no/such/folder", "", None, "~nobody-of-this-name/x"])
def test_a_root_that_is_no_folder_is_named(source, root):
    """The sentence begins with the argument's name."""
    with pytest.raises(FileNotFoundError, match=r"^root must be an existing folder, got root="):
        source(root=root, validation=0, split_seed=0, cache=None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"validation": 12}, "^validation < training images .*validation=12, training images=12$"),
        ({"validation": -1}, "^validation must be a whole number, 0 or more, got validation=-1$"),
        ({"validation": 2.5}, "^validation must be a whole number"),
        ({"validation": True}, "^validation must be a whole number"),
        ({"split_seed": "x"}, "^split_seed must be a whole number, .*got split_seed='x'$"),
        ({"cache": ""}, "^cache must be the path of a folder or null, got cache=''$"),
        ({"cache": 3}, "^cache must be the path of a folder or null, got cache=3$"),
    ],
)
def test_a_bad_argument_is_named(tmp_path, arguments, sentence):
    """The sentence begins with the argument's name, so that a caller can prefix the group."""
    root = str(write_idx(tmp_path, toy_parts()))
    with pytest.raises(ValueError, match=sentence):
        data.idx(**{"root": root, "validation": 0, "split_seed": 0, "cache": None, **arguments})


def test_a_damaged_embedded_file_is_named_even_with_a_warm_cache(tmp_path, monkeypatch):
    """The checksums are verified at every start, before the cache is asked."""
    shutil.copytree(data._EMBEDDED, tmp_path / "mnist")
    monkeypatch.setattr(data, "_EMBEDDED", tmp_path / "mnist")
    cache = str(tmp_path / "cache")
    data.mnist(validation=0, split_seed=0, cache=cache)
    path = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    raw = bytearray(path.read_bytes())
    raw[2000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(
        ValueError, match=r"t10k-labels-idx1-ubyte\.gz: damaged, its sha256 must be"
    ):
        data.mnist(validation=0, split_seed=0, cache=cache)


def test_export_writes_a_tree_that_reads_back(tmp_path, monkeypatch, capsys, caplog):
    """`export_png` writes all images, says so, and does not touch a folder that holds something."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(_idx, "read", lambda _files: toy_table(toy_parts()))
    root = tmp_path / "new" / "tree"
    assert data.main(["export_png", str(root)]) == 0
    assert (
        f"wrote 18 images; train on them with data=png data.root={root}" in capsys.readouterr().out
    )
    assert "writing PNG files: 18 of 18" in caplog.text
    np.testing.assert_array_equal(load(data.png, root).test.labels, toy_parts()[3])
    assert data.main(["export_png", str(root)]) == 2
    assert "ROOT must be a new or empty folder" in capsys.readouterr().err


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch, capsys):
    """Ctrl-C halfway removes what was written."""

    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(_idx, "read", lambda _files: toy_table(toy_parts()))
    monkeypatch.setattr(iio, "imwrite", interrupt)
    assert data.main(["export_png", str(tmp_path / "tree")]) == 130
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == "interrupted: nothing was written\n"


@pytest.mark.parametrize(
    "words", [[], ["export"], ["export_png"], ["export_png", "a", "b"], ["-h"]]
)
def test_other_words_give_the_usage(words):
    """One line on standard error, and exit code 2."""
    command = [sys.executable, "-m", "mnist_study.data", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "usage: python -m mnist_study.data export_png ROOT\n"
