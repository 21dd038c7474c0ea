"""Names of studies and places of runs: quoted in queries, refused where they cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.command import PROJECT, mnist_study
from tests.needs import needs
from tests.plugin.sweeping import load
from tests.studied import agree, search


def test_a_study_with_an_apostrophe_agrees_with_mlflow(tmp_path):
    """Its second start finds the run of the first; there is one parent, and every trial below."""
    name = "hydra.sweeper.study_name=\"O'Brien's %\""
    search(name, "engine=local", "hydra.sweeper.n_trials=1", folder=tmp_path)
    search(name, "engine=local", "hydra.sweeper.n_trials=2", folder=tmp_path)
    agree(load(tmp_path, "O'Brien's %").trials, tmp_path / "mlflow.db")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list", "none.journal"], "no study in none.journal\n"),
        (["list", "sqlite:///none.db"], "no study in sqlite:///none.db\n"),
        (["show", "mine", "none.journal"], "no study mine in none.journal\n"),
        (
            ["list", "notes.txt"],
            "hydra.sweeper.storage: {0}/notes.txt is not a journal of Optuna, ",
        ),
        (["list", "mine.db"], "hydra.sweeper.storage: {0}/mine.db is "),
        (["list", "postgresql://a:b@c:d/e"], "hydra.sweeper.storage: postgresql://USER:PASSWORD@"),
    ],
)
def test_a_listing_creates_nothing(words, sentence, tmp_path):
    """Of what is not there, or not a study's, one sentence says so; the folder is as it was."""
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "mine.db").write_bytes(b"SQLite format 3\0 and so on")
    done = mnist_study(*words, folder=tmp_path, module="mnist_study.study")
    assert done.returncode == 2
    assert done.stderr.startswith(sentence.format(tmp_path))
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.db", "notes.txt"]


def test_a_listing_goes_on_behind_a_damaged_journal(tmp_path):
    """It is named with its line; the others are listed, and the exit code is 2."""
    search("hydra.sweeper.n_trials=1", "tracking=none", folder=tmp_path)
    journal = tmp_path / "multirun/optuna/study.journal"
    other = tmp_path / "multirun/a/study.journal"
    other.parent.mkdir()
    lines = journal.read_bytes().splitlines(keepends=True)
    other.write_bytes(b"".join([*lines[:2], b"garbage\n", *lines[2:]]))
    done = mnist_study("list", folder=tmp_path, module="mnist_study.study")
    assert done.returncode == 2
    assert f"line 3 of {other} is damaged" in done.stderr
    assert done.stdout.startswith("optuna: 1 complete")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["hydra.run.dir=notes.txt"],
            "mnist_study: hydra.run.dir must be a folder to write to, got",
        ),
        (["+sweep=optuna", "hydra.sweep.dir=notes.txt"], "hydra.sweep.dir: a folder to write to "),
    ],
)
def test_a_folder_that_is_none_is_refused(words, sentence, tmp_path):
    """One sentence names the key, and nothing is written."""
    (tmp_path / "notes.txt").write_text("mine")
    done = mnist_study("tracking=none", *words, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "mnist_study: hydra.run.dir must be a folder to write to, got outputs/"),
        (["+sweep=optuna"], "hydra.sweep.dir: a folder to write to must be given, got "),
    ],
)
def test_a_working_folder_that_is_read_only_is_refused(words, sentence, tmp_path):
    """Without permission to write, one sentence says what may be named instead."""
    root = os.geteuid() == 0
    needs(not root or shutil.which("setpriv"), "setpriv")
    without = ["setpriv", "--bounding-set", "-dac_override"] if root else []
    tmp_path.chmod(0o555)
    done = subprocess.run(
        [*without, sys.executable, "-m", "mnist_study", "tracking=none", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
