"""What cannot be read is named, in one sentence."""

from __future__ import annotations

import gzip
import shutil

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from mnist_study import data
from mnist_study.data import png_tree, sources
from tests.data_files import FILES, idx_bytes, load, toy_parts, toy_table, write_idx


def unlink(name):
    return lambda root: (root / name).unlink()


def put(name, array):
    return lambda root: (root / name).write_bytes(idx_bytes(array))


def put_typed(name, array, code):
    return lambda root: (root / name).write_bytes(idx_bytes(array, code))


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


def one_class(root):
    for part in ("Train", "Test"):
        for label in "12":
            shutil.rmtree(root / part / label)


def web_page(root):
    (root / "Train" / "1" / "00001.png").write_text("\n<!DOCTYPE html><title>403</title>")


def animation(root):
    frames = [Image.new("L", (5, 4), grey) for grey in (0, 255)]
    frames[0].save(root / "Train" / "1" / "00001.png", save_all=True, append_images=frames[1:])


def black_alone(root):
    for path in root.rglob("*.png"):
        iio.imwrite(path, np.zeros((4, 5), np.uint8))


def empty_class(root):
    for path in (root / "Train" / "2").iterdir():
        path.unlink()


IDX_FAULTS = [
    (unlink(FILES[1]), "root must hold train-labels-idx1-ubyte.*without it"),
    (put("train.idx", [1]), None),  # another file beside them does no harm
    (put(f"letters-{FILES[0]}", [1]), "root must hold one dataset.*letters-train.*, train"),
    (cut(FILES[0], -1), "train-images.*must hold 240 bytes after its header, holds 239"),
    (cut(FILES[0], 9), "train-images.*must hold a header of 16 bytes, holds 9"),
    (cut(FILES[3], 0), "t10k-labels.*must be an IDX file, holds nothing .0 bytes"),
    (cut_gzip, "train-images.*must be a whole gzip file"),
    (
        lambda root: (root / FILES[2]).write_text("<html>"),
        "t10k-images.*IDX file, holds a web page",
    ),
    (put(FILES[0], [0] * 12), r"train-images.*hold images \(rank 3\), holds labels \(rank 1\)"),
    (put(FILES[1], np.zeros((12, 4, 5))), r"train-labels.*hold labels \(rank 1\), holds images"),
    (
        put(FILES[1], [0, 1] * 5 + [2]),
        "train-labels.*one label an image, holds 11, .* 12 images",
    ),
    (put(FILES[2], np.zeros((6, 5, 5))), "t10k-images.*must hold images of 4 x 5 .*holds 5 x 5"),
    (put(FILES[1], [7] * 12), r"train-labels.*labels of two or more classes, holds \[7\]"),
    (
        put_typed(FILES[1], -np.arange(12), 9),
        "train-labels.*must hold labels of 0 or more, holds -11",
    ),
    (put_typed(FILES[1], np.zeros(12), 13), r"labels .*\(rank 1\), holds .* of 32-bit floats"),
    (
        put_typed(FILES[0], np.ones((12, 4, 5)), 11),
        r"images .*\(rank 3\), holds .* 16-bit integers",
    ),
    (put(FILES[0], np.zeros((12, 4, 5))), "train-images.*images must differ, all 12 are equal"),
    (
        lambda root: (root / FILES[1]).write_bytes(b"PK\3\4x"),
        "labels.*IDX file, holds a zip archive",
    ),
    (put(FILES[3], [0, 1, 2, 3, 0, 1]), "t10k-labels.*hold the training labels, 0 to 2, holds 3$"),
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
        "root must hold the folders Train and Test, got root='.*' without test or testing",
    ),
    (lambda root: (root / "Test" / "2").rename(root / "Test" / "two"), "Test: .*, lacks '2'"),
    (lambda root: shutil.rmtree(root / "Train" / "2"), "Test: .*folders of .*Train, has '2'"),
    (lambda root: shutil.rmtree(root / "Test" / "2"), "Test: .*folders of .*Train, lacks '2'"),
    (lambda root: shutil.copytree(root / "Train", root / "training"), "one Train .*Train and tr"),
    (empty_class, "Train.2: a class folder must hold images .*, has none"),
    (one_class, r"Train: must hold a folder for each of two or more classes, has \['0'\]"),
    (lambda root: [shutil.rmtree(p) for p in (root / "Train").iterdir()], r"Train: .*has \[\]"),
    (wide_png, "1.00001.png: must have 4 x 5 as in .*00000.png, has 4 x 6 pixels"),
    (turned_png, "1.00001.png: must have 4 x 5 as in .*00000.png, has 5 x 4 pixels"),
    (deep_png, "1.00001.png: must be one image of 8-bit grey or colour, .* I;16"),
    (clear_png, "Test.1.00001.png: must be opaque unless data.background=.* 20 of its pixels"),
    (animation, "Train.1.00001.png: must be one image .*, holds 2 of"),
    (black_alone, "Train: images must differ, all 12 are equal"),
    (web_page, "Train.1.00001.png: must be an image, holds a web page"),
    (cut("Train/1/00001.png", 50), "Train.1.00001.png: must be an image, is damaged"),
    (cut("Train/1/00001.png", 12), "Train.1.00001.png: must be an image, is damaged"),
    (cut("Train/1/00001.png", 0), r"Train.1.00001.png: must be an image, holds nothing \(0 bytes"),
    (put("Train/1/00001.png", [1]), "1.00001.png: must be an image, holds an IDX file of labels"),
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
