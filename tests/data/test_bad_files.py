"""What cannot be read is named, in one sentence."""

from __future__ import annotations

import gzip
import shutil

import imageio.v3 as iio
import numpy as np
import pytest

from mnist_study import data
from mnist_study.data import png_tree, sources
from tests.data_files import FILES, idx_bytes, load, toy_parts, toy_table, write_idx


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


def turned_png(root):
    iio.imwrite(root / "Train" / "1" / "00001.png", np.zeros((5, 4), np.uint8))


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
    (turned_png, "1.00001.png: must have 4 x 5 as in .*00000.png, has 5 x 4 pixels"),
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
    png_tree.write(root, toy_table(toy_parts()))
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
    shutil.copytree(sources._EMBEDDED, tmp_path / "mnist")
    monkeypatch.setattr(sources, "_EMBEDDED", tmp_path / "mnist")
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
