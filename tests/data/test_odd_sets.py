"""Data as people really have it is read as it is meant, or what is amiss is said."""

from __future__ import annotations

import gzip
import logging
import struct

import numpy as np
import pytest
from PIL import Image

from mnist_study import data
from mnist_study.data import png_tree
from tests.data_files import FILES, idx_bytes, load, toy_parts, toy_table, write_idx


def tree(folder):
    """The toy images below Train/0 to Test/2."""
    png_tree.write(folder, toy_table(toy_parts()))
    return folder


def renamed(root, names, parts=("Train", "Test")):
    """The tree with other names of its classes and parts."""
    for part, new in zip(("Train", "Test"), parts, strict=True):
        for label in range(len(names)):
            (root / part / str(label)).rename(root / part / f"old {label}")
        for label, name in enumerate(names):
            (root / part / f"old {label}").rename(root / part / name)
        (root / part).rename(root / new)
    return root


def picture(dataset, row=0):
    return dataset.train.images[row].reshape(dataset.image_shape)


@pytest.mark.parametrize(
    "parts",
    [("Train", "Test"), ("train", "test"), ("training", "testing"), ("TRAIN", "TESTING")],
    ids="/".join,
)
def test_the_parts_of_a_tree_have_several_names(tmp_path, parts):
    """Train and test, training and testing, upper or lower case: the same arrays."""
    whole = load(data.png, tree(tmp_path / "whole"))
    assert load(data.png, renamed(tree(tmp_path / "tree"), "012", parts)).digest == whole.digest


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["owl", "cat", "dog"], ("cat", "dog", "owl")),
        (["1", "2", "3"], ("1", "2", "3")),
        (["02", "01", "00"], ("00", "01", "02")),
        (["10", "2", "9"], ("2", "9", "10")),
        (["+", "3", "が"], ("3", "+", "が")),
    ],
)
def test_class_folders_have_any_names(tmp_path, names, expected):
    """Sorted by name, 2 before 10, they are the classes; each image keeps its folder's class."""
    dataset = load(data.png, renamed(tree(tmp_path / "tree"), names))
    assert dataset.class_names == expected
    assert dataset.classes == 3
    images, labels, test_images, test_labels = toy_parts()
    for split, pictures in ((dataset.train, images), (dataset.test, test_images)):
        np.testing.assert_array_equal(split.images.reshape(pictures.shape), pictures)
    assert [expected[k] for k in dataset.train.labels] == [names[k] for k in labels]
    assert [expected[k] for k in dataset.test.labels] == [names[k] for k in test_labels]


def test_litter_of_file_managers_does_not_count(tmp_path, caplog):
    """`__MACOSX`, hidden files, `Thumbs.db` and one folder around all change nothing, unsaid."""
    whole = load(data.png, tree(tmp_path / "whole"))
    root = tree(tmp_path / "archive" / "tree")
    for folder in (root.parent, root, root / "Train", root / "Train" / "1"):
        (folder / "__MACOSX").mkdir()
        (folder / ".ipynb_checkpoints").mkdir()
        (folder / "._0.png").write_bytes(b"no image")
        (folder / "Thumbs.db").write_bytes(b"no image")
    assert load(data.png, root.parent).digest == whole.digest
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("val/0/1.png", "val"),
        ("Train/1.png", "Train/1.png"),
        ("Train/0/more/1.png", "Train/0/more"),
        ("Test/1/photo.heic", "Test/1/photo.heic"),
    ],
)
def test_what_is_left_out_of_a_tree_is_said(tmp_path, where, named, caplog):
    """A further part, an image outside of the classes or of an unknown kind: one line names it."""
    root = tree(tmp_path / "tree")
    (root / where).parent.mkdir(parents=True, exist_ok=True)
    (root / where).write_bytes(b"")
    load(data.png, root)
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"{root}: not part of the data set, and left out: {root / named}"]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp", ".bmp", ".gif", ".tiff", ".pgm"])
def test_other_images_beside_png_count(tmp_path, suffix):
    """A class folder may mix kinds of image; none is left out without a word."""
    root = tree(tmp_path / "tree")
    more = {".webp": {"lossless": True}, ".jpg": {"quality": 100}, ".JPEG": {"quality": 100}}
    with Image.open(root / "Train" / "0" / "00000.png") as image:
        image.save(root / "Train" / "0" / f"11111{suffix}", **more.get(suffix, {}))
    dataset = load(data.png, root)
    assert np.bincount(dataset.train.labels).tolist() == [5, 4, 4]
    row = int(np.flatnonzero(dataset.train.labels == 0)[-1])
    far = np.abs(picture(dataset, row).astype(int) - picture(dataset))
    assert far.max() <= (3 if suffix.lower() in {".jpg", ".jpeg"} else 0)


@pytest.mark.parametrize("upright", [1, 3, 6])
def test_a_photograph_is_read_as_it_is_seen(tmp_path, upright):
    """The orientation in a JPEG's Exif is obeyed; CMYK colours are those of a screen."""
    root = tmp_path / "tree"
    for part in ("train", "test"):
        for name in ("a", "b"):
            (root / part / name).mkdir(parents=True)
            image = Image.new("CMYK", (16, 8), (0, 0, 0, 255))
            image.paste((0, 0, 0, 0), (0, 0, 8, 8) if name == "a" else (8, 0, 16, 8))
            exif = Image.Exif()
            exif[0x0112] = upright
            image.save(root / part / name / "1.jpg", exif=exif, quality=100)
    seen = picture(load(data.png, root)) > 127
    halves = {1: np.s_[:, :8], 3: np.s_[:, 8:], 6: np.s_[:8, :]}
    assert seen.shape == ((16, 8) if upright == 6 else (8, 16))
    assert seen[halves[upright]].mean() > 0.9
    assert seen.mean() == pytest.approx(0.5, abs=0.1)


def save_transparent(path, kind, stroke, around):
    """A stroke in the middle; around it transparent pixels that hide the grey value `around`."""
    grey = np.full((4, 5), around, np.uint8)
    grey[1:3, 1:4] = stroke
    cover = np.zeros((4, 5), np.uint8)
    cover[1:3, 1:4] = 255
    if kind == "palette":
        image = Image.fromarray(cover // 255).convert("P")
        image.putpalette([around] * 3 + [stroke] * 3)
        image.save(path, transparency=0)
    elif kind == "colour key":
        Image.fromarray(grey).save(path, transparency=around)
    else:
        layers = [Image.fromarray(layer) for layer in (grey, cover)]
        image = Image.merge("LA", layers)
        image.convert("RGBA" if kind == "rgba" else "LA").save(path)


@pytest.mark.parametrize(
    ("kind", "around"), [("palette", 0), ("colour key", 9), ("rgba", 0), ("grey alpha", 0)]
)
def test_transparent_pixels_show_the_background_or_are_refused(tmp_path, kind, around):
    """A black stroke on nothing is neither read as all black nor guessed at: a key decides."""
    root = tree(tmp_path / "tree")
    first = root / "Train" / "0" / "00000.png"
    save_transparent(first, kind, 0, around)
    with pytest.raises(ValueError, match=r"00000.png: must be opaque unless .*; 14 of its"):
        load(data.png, root)
    arguments = {"root": str(root), "validation": 0, "split_seed": 0}
    for background, grey in (("white", 255), ("black", 0)):
        cached = data.png(background=background, cache=str(tmp_path / "cache"), **arguments)
        assert picture(cached)[0].tolist() == [grey] * 5
        assert picture(cached)[1].tolist() == [grey, 0, 0, 0, grey]
    with pytest.raises(ValueError, match=r"^background must be black or white or null, got"):
        data.png(background="grey", cache=None, **arguments)


def test_a_transparent_colour_that_no_pixel_has_is_no_matter(tmp_path):
    """A colour key or an alpha channel without effect reads as the plain image."""
    root = tree(tmp_path / "tree")
    before = load(data.png, root).digest
    path = root / "Train" / "0" / "00000.png"
    with Image.open(path) as image:
        grey = np.asarray(image)
    absent = min(set(range(256)) - set(grey.ravel().tolist()))
    Image.fromarray(grey).save(path, transparency=absent)
    assert load(data.png, root).digest == before


def test_half_transparent_pixels_are_blended(tmp_path):
    """A stroke of half its strength on white is half grey."""
    root = tree(tmp_path / "tree")
    half = np.zeros((4, 5, 4), np.uint8)
    half[..., 3] = 128
    Image.fromarray(half).save(root / "Train" / "0" / "00000.png")
    read = data.png(root=str(root), background="white", validation=0, split_seed=0, cache=None)
    assert set(picture(read).ravel().tolist()) == {127}


def typed(parts, code):
    """The toy parts with labels of another type of number."""
    return [idx_bytes(part, code if k % 2 else 8) for k, part in enumerate(parts)]


def put(folder, files):
    folder.mkdir(parents=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return folder


@pytest.mark.parametrize("code", [9, 11, 12])
def test_labels_of_any_whole_numbers_are_read(tmp_path, code):
    """Signed bytes, 16- and 32-bit integers give the classes of unsigned bytes."""
    plain = load(data.idx, write_idx(tmp_path / "plain", toy_parts()))
    wide = put(tmp_path / "wide", dict(zip(FILES, typed(toy_parts(), code), strict=True)))
    assert load(data.idx, wide).digest == plain.digest


def test_qmnist_is_read(tmp_path):
    """Its names, and its labels: the first of eight 32-bit columns, the rest is the writer's."""
    images, labels, test_images, test_labels = toy_parts()
    wide = [np.arange(8) + 100 * k[:, None] for k in (labels, test_labels)]
    for columns, narrow in zip(wide, (labels, test_labels), strict=True):
        columns[:, 0] = narrow
    files = {
        "qmnist-train-images-idx3-ubyte.gz": gzip.compress(idx_bytes(images)),
        "qmnist-train-labels-idx2-int.gz": gzip.compress(idx_bytes(wide[0], 12)),
        "qmnist-test-images-idx3-ubyte": idx_bytes(test_images),
        "qmnist-test-labels-idx2-int": idx_bytes(wide[1], 12),
    }
    plain = load(data.idx, write_idx(tmp_path / "plain", toy_parts()))
    assert load(data.idx, put(tmp_path / "qmnist", files)).digest == plain.digest


@pytest.mark.parametrize("asked", ["", "MNIST", "MNIST/raw"])
def test_torchvisions_folder_is_read(tmp_path, asked):
    """`MNIST/raw` is found from its own root and from any folder on the way; packed twins, too."""
    raw = write_idx(tmp_path / "root" / "MNIST" / "raw", toy_parts())
    write_idx(raw, toy_parts(), [f"{name}.gz" for name in FILES])
    (raw / "._x-train-labels-idx1-ubyte").write_bytes(b"of a Mac")
    assert load(data.idx, tmp_path / "root" / asked).classes == 3


def test_two_datasets_of_torchvision_are_not_guessed_between(tmp_path):
    """One sentence names both."""
    for name in ("MNIST", "KMNIST"):
        write_idx(tmp_path / name / "raw", toy_parts())
    with pytest.raises(ValueError, match=r"one dataset, got root=.* with KMNIST/raw, MNIST/raw$"):
        load(data.idx, tmp_path)


def test_a_file_that_was_packed_twice_is_read(tmp_path):
    """Some servers pack what is packed already."""
    root = write_idx(tmp_path, toy_parts())
    (root / FILES[0]).write_bytes(gzip.compress(gzip.compress(idx_bytes(toy_parts()[0]))))
    assert load(data.idx, root).classes == 3


def relabelled(folder, change):
    parts = list(toy_parts())
    parts[1], parts[3] = change(parts[1]), change(parts[3])
    return write_idx(folder, parts)


def test_labels_that_begin_at_1_have_no_empty_class(tmp_path, caplog):
    """EMNIST's letters, 1 to 26, are 26 classes of those names, without a word."""
    plain = load(data.idx, write_idx(tmp_path / "plain", toy_parts()))
    letters = load(data.idx, relabelled(tmp_path / "letters", lambda labels: labels + 1))
    assert letters.class_names == ("1", "2", "3")
    assert letters.digest == plain.digest
    assert caplog.text == ""


def test_a_stray_label_is_said_and_makes_one_class(tmp_path, caplog):
    """Labels 0 to 2 and one 255 are four classes, not 256; one line names the file and the gap."""
    parts = list(toy_parts())
    parts[1] = parts[1].copy()
    parts[1][5] = 255
    dataset = load(data.idx, write_idx(tmp_path, parts))
    assert dataset.class_names == ("0", "1", "2", "255")
    assert dataset.train.labels[5] == 3
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"{tmp_path / FILES[1]}: labels have gaps, the 4 classes are 0 to 2, 255",
        f"idx:{tmp_path.name}: no test image is of class '255'",
    ]


def test_a_class_that_is_held_out_whole_is_said(tmp_path, caplog):
    """A class of one image that validation takes cannot be learnt: one line says so."""
    parts = list(toy_parts())
    parts[1] = np.array([0] * 6 + [1] * 5 + [2])
    load(data.idx, write_idx(tmp_path, parts), validation=11)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no train image is of class" in caplog.text


def test_a_header_alone_is_named(tmp_path):
    """A file that promises more than it holds: the bytes of its own type of number are counted."""
    root = write_idx(tmp_path, toy_parts())
    (root / FILES[1]).write_bytes(bytes([0, 0, 12, 1]) + struct.pack(">I", 12))
    with pytest.raises(ValueError, match="must hold 48 bytes after its header, holds 0"):
        load(data.idx, root)


def test_the_embedded_classes_are_the_digits():
    """MNIST's own classes have their names without a look at the labels."""
    mnist = data.mnist(validation=0, split_seed=0, cache=None)
    assert mnist.class_names == tuple("0123456789")
    assert set(np.unique(mnist.train.labels)) == set(range(10))


def test_a_cached_set_keeps_its_class_names(tmp_path):
    """The second start, from the cache, has the same names."""
    root = relabelled(tmp_path / "letters", lambda labels: labels + 1)
    first, second = (load(data.idx, root, cache=str(tmp_path / "cache")) for _ in range(2))
    assert first.class_names == second.class_names == ("1", "2", "3")
