"""Odd data sets by real commands: trained as meant, with their classes' names, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from mnist_study.config import ConfigError
from mnist_study.data import mnist
from mnist_study.run import compose_run
from tests.command import mnist_study
from tests.composing import composed
from tests.data_files import FILES, write_idx

SHORT = ("training.epochs=2", "training.batch_size=4", "data.validation=6", "data.cache=cache")


def spots(count):
    """Images of three classes, each with a bright row of its own, and their labels."""
    labels = np.arange(count) % 3
    images = np.random.default_rng(0).integers(0, 60, (count, 6, 5), np.uint8)
    images[np.arange(count), 2 * labels] = 255
    return images, labels


def words(root):
    """A tree of the classes owl, cat and dog below train and test."""
    for part, count in (("train", 36), ("test", 12)):
        for row, (image, label) in enumerate(zip(*spots(count), strict=True)):
            folder = root / part / ("owl", "cat", "dog")[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{row}.png")
    return root


def test_classes_keep_their_names_in_the_store(tmp_path):
    """A run's parameter and the keys of its weight images name the classes; the run may chdir."""
    words(tmp_path / "animals")
    store = f"sqlite:///{tmp_path}/runs.db"  # relative, too, it lies where the command was started
    done = mnist_study(
        *("data=png", "data.root=animals", "hydra.job.chdir=true", "model=softmax", *SHORT),
        *("tracking=mlflow", "tracking.uri=sqlite:///runs.db"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    client = MlflowClient(store)
    (experiment,) = [e for e in client.search_experiments() if e.name == "mnist"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["data.classes"] == "cat, dog, owl"
    assert run.data.params["data.root"] == "animals"
    assert run.data.metrics["final/test_accuracy"] > 0.9
    images = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    for name in ("cat", "dog", "owl"):
        assert any(f"weights~final~class_{name}+" in path for path in images)
    assert (tmp_path / "cache").is_dir()  # where the command was started, not in the run's folder


@pytest.mark.parametrize("chdir", ["true", "false"])
def test_a_search_reads_a_relative_root(tmp_path, chdir):
    """Each trial finds `data.root` from where the command was started."""
    write_idx(tmp_path / "MNIST" / "raw", (*spots(36), *spots(12)))
    done = mnist_study(
        *("+sweep=optuna", "data=idx", "data.root=MNIST", f"hydra.job.chdir={chdir}", *SHORT),
        *("hydra.sweeper.n_trials=2", "study.champion_seeds=0", "tracking=none"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "2/2 trials" in done.stdout + done.stderr
    assert "fail" not in done.stdout + done.stderr


def empty_png(root):
    (words(root) / "train" / "cat" / "1.png").write_bytes(b"")


def transparent(root):
    Image.new("L", (5, 6)).save(words(root) / "train" / "cat" / "1.png", transparency=0)


def web_page(root):
    write_idx(root, (*spots(36), *spots(12)))
    (root / FILES[0]).rename(root / f"{FILES[0]}.gz")
    (root / f"{FILES[0]}.gz").write_text("<!DOCTYPE html><title>403 Forbidden</title>")


@pytest.mark.parametrize(
    ("make", "group", "sentence"),
    [
        (empty_png, "png", "train/cat/1.png: must be an image, holds nothing (0 bytes)"),
        (transparent, "png", "data.background=black or =white says what shows through; 30 of"),
        (web_page, "idx", f"{FILES[0]}.gz: must be an IDX file, holds a web page"),
        (words, "idx", "data.root must hold train-images-idx3-ubyte"),
        (lambda root: root.mkdir(), "png", "data.root must hold the folders Train and Test"),
    ],
)
def test_what_cannot_be_read_costs_one_sentence(tmp_path, make, group, sentence):
    """The file or the key is named, exit code 2, nothing is written."""
    make(tmp_path / "set")
    before = sorted(tmp_path.rglob("*"))
    words = (f"data={group}", "data.root=set", "data.validation=6", "tracking=none")
    done = mnist_study(*words, "data.cache=null", folder=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("data=png data.root=${nowhere}", r"^data\.root: Interpolation key 'nowhere' not found$"),
        ("data.validation=${oc.env:NO_SUCH}", r"^data\.validation: .*'NO_SUCH' not found"),
        ("data=png data.root=???", r"^data\.root must be given"),
    ],
)
def test_a_reference_to_nothing_names_its_key(words, sentence):
    """One sentence with the key of section `data` that refers to what is not there."""
    with pytest.raises(ConfigError, match=sentence) as caught:
        compose_run(composed(*words.split()))
    assert "\n" not in str(caught.value)


def test_a_key_of_data_may_refer_to_another_section():
    """`data.split_seed=${training.seed}` holds out what that seed does."""
    config = composed("data.split_seed=${training.seed}", "training.seed=7")
    seven = mnist(validation=10_000, split_seed=7, cache=None)
    assert compose_run(config).dataset.digest == seven.digest
