"""How the tests run the toy app's sweeps: as commands, in a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hydra
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

ROOT = Path(__file__).parents[2]
APP = Path(__file__).parent / "app" / "app.py"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
VERSION_BASE = {"version_base": None} if hydra.__version__ < "1.4" else {}
# Hydra 1.4 takes its mode from the command line or the primary config only
MULTIRUN = ["-m"] if hydra.__version__ >= "1.4" else []


def command(*overrides: str) -> list[str]:
    """The command of one sweep of the toy app."""
    return [sys.executable, str(APP), *MULTIRUN, "+sweep=toy", *overrides]


def environment() -> dict[str, str]:
    """Finds the plugin of this checkout, from wherever the command runs."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "80"}


def sweep(folder: Path, *overrides: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a sweep to its end, and check its exit code."""
    done = subprocess.run(
        command(*overrides),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def start(folder: Path, *overrides: str) -> subprocess.Popen[bytes]:
    """Begin a sweep in a process group of its own; its output goes to `output.txt`.

    A file, not a pipe: a pipe stays open as long as a child of a killed process lives.
    """
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            command(*overrides),
            cwd=folder,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def load(folder: Path, name: str = "toy") -> optuna.Study:
    """The study as Optuna alone reads it."""
    journal = folder / "multirun" / name / "study.journal"
    return optuna.load_study(
        study_name=name, storage=JournalStorage(JournalFileBackend(str(journal)))
    )


def kept(trials: list[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
    """The trials that count: those that no retry replaced."""
    replaced = {t.user_attrs.get("retry_of") for t in trials}
    return [t for t in trials if t.number not in replaced]


def account(folder: Path, number: int, name: str = "toy") -> list[str]:
    """What trial `number` wrote about itself."""
    return (folder / "multirun" / name / str(number) / "account.txt").read_text().splitlines()
