"""What runs and searches promise, each as a command in a subprocess on real MNIST."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mnist_study.data import idx_files
from mnist_study.data.sources import embedded_files
from tests.command import mnist_study
from tests.studied import runs_of

SHORT = [
    "hydra.sweeper.n_trials=3",
    "training.epochs=1",
    "study.champion_seeds=2",
    "model.width=32",
]


def accuracy_of_the_files(weights):
    """What saved weights reach on the test images as they lie in MNIST's files, by plain NumPy."""
    table = idx_files.read(embedded_files())
    images, labels = table.images[table.training :], table.labels[table.training :]
    with np.load(weights) as arrays:
        hidden = np.maximum(images / 255 @ arrays["W1"] + arrays["b1"], 0)
        logits = hidden @ arrays["W2"] + arrays["b2"]
    return (logits.argmax(axis=1) == labels).mean()


def test_the_default_run_reaches_its_accuracy_and_is_tracked(tmp_path):
    """At least 97.8 % on the test set; curves, final figures and pictures are in MLflow."""
    done = mnist_study(folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run = runs_of(tmp_path / "mlflow.db")[0]
    assert run["status"] == "FINISHED"
    assert run["metrics"]["final/test_accuracy"] >= 0.978
    curves = {"train/loss", "train/accuracy", "validation/loss", "validation/accuracy", "lr"}
    assert curves | {"images_per_second", "time/train_seconds"} <= run["metrics"].keys()
    assert "test/accuracy" not in run["metrics"]  # looked at once, at the end
    artifacts = {path.name for path in (tmp_path / "mlruns").rglob("artifacts/*")}
    assert {"weights.png", "loss.png", "accuracy.png", "config.yaml", "weights.npz"} <= artifacts
    (saved,) = (tmp_path / "mlruns").rglob("artifacts/weights.npz")
    assert accuracy_of_the_files(saved) == pytest.approx(run["metrics"]["final/test_accuracy"])
    assert re.search(
        r"mlflow ui .*#/experiments/\d+/runs/\w{32}\?workflowType=machine_learning", done.stdout
    )


def test_the_same_seed_gives_the_same_weights_in_two_processes(tmp_path):
    """Bit for bit; and another seed gives others."""
    weights = []
    for index, seed in enumerate([3, 3, 4]):
        folder = tmp_path / str(index)
        words = ["training.epochs=1", f"training.seed={seed}", "training.threads=1"]
        assert mnist_study(*words, f"hydra.run.dir={folder}", folder=tmp_path).returncode == 0
        with np.load(next(folder.rglob("weights.npz"))) as arrays:
            weights.append({name: arrays[name].tobytes() for name in arrays.files})
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_an_optimizer_of_ones_own_needs_only_its_target(tmp_path):
    """A class in the user's folder, named by `optimizer._target_`, trains."""
    (tmp_path / "mine.py").write_text(
        "class Signs:\n"
        "    def __init__(self, parameters, *, lr, momentum):\n"
        "        self.parameters, self.lr = parameters, lr\n"
        "    def step(self, gradient, lr):\n"
        "        self.parameters -= lr * (gradient > 0) - lr * (gradient < 0)\n"
    )
    words = ["optimizer._target_=mine.Signs", "optimizer.lr=1e-3", "training.epochs=1"]
    done = mnist_study(*words, "tracking=none", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"accuracy +(\d\d\.\d\d)%", done.stdout)[1]) > 80


def test_the_search_of_the_readme_is_a_study(tmp_path):
    """Trials, champion and parents are in MLflow; only the champion sees the test set."""
    done = mnist_study("+sweep=optuna", *SHORT, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = runs_of(tmp_path / "mlflow.db")
    parents = [run for run in runs if run["tags"].get("kind") == "study"]
    children = [run for run in runs if run not in parents]
    trials = [run for run in children if run["tags"]["study"] == "optuna"]
    seeds = [run for run in children if run["tags"]["study"].startswith("optuna-champion-")]
    assert [len(parents), len(trials), len(seeds)] == [2, 3, 2]
    assert not any("test" in key for run in trials for key in run["metrics"])
    assert all("final/test_accuracy" in run["metrics"] for run in seeds)
    assert all(run["status"] != "RUNNING" for run in runs)
    champion = np.mean([run["metrics"]["final/test_accuracy"] for run in seeds])
    for parent in parents:
        assert parent["metrics"]["champion/test_accuracy_mean"] == pytest.approx(champion)
    assert "95 % interval" in done.stdout

    again = mnist_study("+sweep=optuna", *SHORT, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "complete" in again.stdout
    assert runs_of(tmp_path / "mlflow.db") == runs


def test_a_search_must_not_select_by_the_test_set(tmp_path):
    """The metric of a search is refused if it is measured on the test set."""
    done = mnist_study("+sweep=optuna", "hydra.sweeper.metric=test/accuracy", folder=tmp_path)
    assert done.returncode == 2
    assert "hydra.sweeper.metric must not be measured on the test set" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_ends_as_killed_with_all_it_had(tmp_path):
    """Ctrl-C: exit code 130, status KILLED, and the curves up to there are in MLflow."""
    words = ["training.epochs=400", "training.batch_size=1000", "hydra.run.dir=run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mnist_study", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while time.monotonic() < until and "epoch" not in (process.stdout.readline() or ""):
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "mnist_study: stopping; what the run has recorded is written and sent first" in errors
    assert errors.endswith("mnist_study: interrupted\n")
    run = runs_of(tmp_path / "mlflow.db")[0]
    assert run["status"] == "KILLED"
    assert run["metrics"]["train/loss"] > 0
