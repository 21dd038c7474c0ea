"""The three sources give the same arrays."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from omegaconf import OmegaConf

from mnist_study import data
from mnist_study.data import idx_files, png_tree
from mnist_study.data.__main__ import main
from tests.data_files import FILES, load, toy_parts, toy_table, write_idx


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
    parts = (
        mnist.train.images[:3000].reshape(-1, 28, 28),
        mnist.train.labels[:3000],
        mnist.test.images[:500].reshape(-1, 28, 28),
        mnist.test.labels[:500],
    )
    png_tree.write(tmp_path / "png", toy_table(parts))
    idx = load(data.idx, write_idx(tmp_path / "idx", parts), validation=500)
    png = load(data.png, tmp_path / "png", validation=500)
    assert (idx.name, png.name) == ("idx:idx", "png:png")
    assert_same(idx, png)
    whole = load(data.png, tmp_path / "png")
    np.testing.assert_array_equal(whole.train.images.reshape(-1, 28, 28), parts[0])
    np.testing.assert_array_equal(whole.test.labels, mnist.test.labels[:500])


def test_the_embedded_folder_is_an_idx_folder():
    """`idx` on MNIST's own files is `mnist`."""
    root = Path(data.__file__).parent / "embedded"
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
    np.testing.assert_array_equal(dataset.train.images.reshape(-1, 4, 5), toy_parts()[0])


def test_idx_prefers_the_unpacked_twin(tmp_path):
    """A file beside its own gzip is one file; the gzip, here a broken one, is left alone."""
    write_idx(tmp_path, toy_parts())
    (tmp_path / f"{FILES[0]}.gz").write_bytes(b"\x1f\x8b broken")
    assert len(load(data.idx, tmp_path).train.labels) == 12


def test_a_foreign_tree_is_in_natural_order(tmp_path):
    """2.png comes before 10.png, whatever the class; hidden and other files do not count."""
    png_tree.write(tmp_path / "tree", toy_table(toy_parts()))
    train = tmp_path / "tree" / "Train"
    for row in range(12):
        (train / f"{row % 3}" / f"{row:05}.png").rename(train / f"{row % 3}" / f"{row}.png")
    (train / "0" / "._1.png").write_bytes(b"not an image")
    (train / "0" / "notes.txt").write_text("not an image")
    assert load(data.png, tmp_path / "tree").train.labels.tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize("kind", ["rgb", "rgba", "grey_alpha", "bit"])
def test_png_reads_other_kinds_of_grey(tmp_path, kind):
    """Grey kept as colour, as opaque alpha or as single bits reads as the same grey."""
    png_tree.write(tmp_path / "tree", toy_table(toy_parts()))
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
    read = load(data.png, tmp_path / "tree")
    np.testing.assert_array_equal(read.train.images[0].reshape(read.image_shape), expected)


def test_colour_becomes_luminance(tmp_path):
    """Red, green, blue and white weigh 0.299, 0.587, 0.114 and 1 (ITU-R BT.601)."""
    png_tree.write(tmp_path / "tree", toy_table(toy_parts()))
    image = np.zeros((4, 5, 3), np.uint8)
    image[0, :3] = 255 * np.eye(3)
    image[1] = 255
    iio.imwrite(tmp_path / "tree" / "Train" / "0" / "00000.png", image)
    read = load(data.png, tmp_path / "tree")
    grey = read.train.images[0].reshape(read.image_shape)
    assert grey[:2].tolist() == [[76, 150, 29, 0, 0], [255] * 5]


def test_export_writes_a_tree_that_reads_back(tmp_path, monkeypatch, capsys, caplog):
    """`export_png` writes all images, says so, and does not touch a folder that holds something."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(idx_files, "read", lambda _files: toy_table(toy_parts()))
    root = tmp_path / "new" / "tree"
    assert main(["export_png", str(root)]) == 0
    assert (
        f"wrote 18 images; train on them with data=png data.root={root}" in capsys.readouterr().out
    )
    assert "writing PNG files: 18 of 18" in caplog.text
    np.testing.assert_array_equal(load(data.png, root).test.labels, toy_parts()[3])
    assert main(["export_png", str(root)]) == 2
    assert "ROOT must be a new or empty folder" in capsys.readouterr().err


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch, capsys):
    """Ctrl-C halfway removes what was written."""

    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(idx_files, "read", lambda _files: toy_table(toy_parts()))
    monkeypatch.setattr(iio, "imwrite", interrupt)
    assert main(["export_png", str(tmp_path / "tree")]) == 130
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == "interrupted: nothing was written\n"


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch, capsys):
    """Where standard error is a terminal, tqdm draws; nowhere else."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    png_tree.write(tmp_path / "tree", toy_table(toy_parts()))
    load(data.png, tmp_path / "tree")
    drawn = capsys.readouterr().err
    assert "writing PNG files: 100%" in drawn
    assert "reading images: 100%" in drawn


@pytest.mark.parametrize("name", ["mnist", "idx", "png"])
def test_each_source_has_its_config(name, monkeypatch):
    """A file of the `data` group gives every argument of its target, and no other."""
    monkeypatch.delenv("MNIST_STUDY_CACHE", raising=False)
    config = OmegaConf.load(Path(__file__).parents[2] / "conf" / "data" / f"{name}.yaml")
    target = getattr(data, name)
    assert config["_target_"] == f"mnist_study.data.{name}"
    assert {*config} - {"_target_"} == {*inspect.signature(target).parameters}
    assert config.cache == "~/.cache/mnist_study"
    monkeypatch.setenv("MNIST_STUDY_CACHE", "/elsewhere")
    assert config.cache == "/elsewhere"


@pytest.mark.parametrize(
    "words", [[], ["export"], ["export_png"], ["export_png", "a", "b"], ["-h"]]
)
def test_other_words_give_the_usage(words):
    """One line on standard error, and exit code 2."""
    command = [sys.executable, "-m", "mnist_study.data", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "usage: python -m mnist_study.data export_png ROOT\n"
