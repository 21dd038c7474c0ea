"""A disk that runs full under a search, a real one; and the same command when there is space."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress

import optuna
import pytest
from optuna.trial import TrialState

from hydra_plugins.hydra_optuna_study import StorageLocation
from tests.plugin.sweeping import kept
from tests.studied import agree, search, start

WORDS = ("hydra.sweeper.n_trials=4", "hydra.sweeper.workers=2", "training.epochs=4", "pruner=none")


@pytest.fixture
def disk(tmp_path):
    """A file system of 16 MB, in memory."""
    if os.geteuid():
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder):
    """Take all that is left, in the end byte by byte."""
    with (folder / "ballast").open("ab", buffering=0) as file, suppress(OSError):
        for size in (4096, 1):
            with suppress(OSError):
                while file.write(b"0" * size):
                    pass


def trials_of(journal):
    return optuna.load_study(
        study_name="optuna", storage=StorageLocation(str(journal)).open()
    ).trials


@pytest.mark.timeout(280)
@pytest.mark.parametrize("engine", ["local", "processes"])
def test_a_search_whose_disk_is_full_stops_and_goes_on_when_there_is_space(engine, disk, tmp_path):
    """One sentence says so; what was finished stays, the total is exact, and MLflow agrees.

    With one worker the study itself has space: a trial may be complete, and its curves lost.
    """
    journal = disk / "multirun/optuna/study.journal"
    journal = tmp_path / "study.journal" if engine == "local" else journal
    words = (*WORDS, f"engine={engine}", f"hydra.sweeper.storage={journal}")
    controller = start(*words, folder=disk, output=tmp_path / "output.txt")
    deadline = time.monotonic() + 90
    while not (disk / "multirun/optuna/1/tracking/records.jsonl").exists():
        assert time.monotonic() < deadline, (tmp_path / "output.txt").read_text()
        time.sleep(0.05)
    fill(disk)
    assert controller.wait(timeout=120) == 1, (tmp_path / "output.txt").read_text()
    last = (tmp_path / "output.txt").read_text().splitlines()[-1]
    assert last.startswith("study optuna stopped: no space left on the disk of ")
    assert "make some, then continue with: python " in last
    before = [t for t in trials_of(journal) if t.state == TrialState.COMPLETE]

    (disk / "ballast").unlink()
    search(*words, folder=disk)
    trials = trials_of(journal)
    assert [t.state for t in kept(trials)] == [TrialState.COMPLETE] * 4
    assert [(t.params, t.value) for t in before] == [
        (trials[t.number].params, trials[t.number].value) for t in before
    ]
    again = [t for t in trials if t.state == TrialState.FAIL]
    assert all("it is tried again" in t.user_attrs["failure"] for t in again)
    if engine == "local":
        assert "the disk was full; it is tried again" in {t.user_attrs["failure"] for t in again}
    agree(trials, disk / "mlflow.db")
    assert "is complete: 4 trials" in search(*words, folder=disk).stdout
