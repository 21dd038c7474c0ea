"""Searches as a user types them, small: what they did, by Optuna and by MLflow alone."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna

from tests.command import mnist_study
from tests.plugin.sweeping import load

SMALL = (
    "training.epochs=1",
    "training.threads=1",
    "model.width=16",
    "study.champion_seeds=0",
)
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


def search(*words: str, folder: Path, code: int = 0, sweep: str = "optuna"):
    """Run a small search to its end, and check its exit code."""
    done = mnist_study(f"+sweep={sweep}", *SMALL, *words, folder=folder)
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def start(*words: str, folder: Path, output: Path | None = None) -> subprocess.Popen[bytes]:
    """Begin a small search; what it prints goes to `output.txt`, or to another file."""
    folder.mkdir(exist_ok=True)
    with (output or folder / "output.txt").open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "mnist_study", "+sweep=optuna", *SMALL, *words],
            cwd=folder,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def runs_of(database: Path) -> list[dict]:
    """Every run in an MLflow database, which must be whole: status, tags and metrics."""
    with sqlite3.connect(database) as store:
        assert store.execute("pragma integrity_check").fetchall() == [("ok",)]
        runs = store.execute("select run_uuid, status from runs order by start_time").fetchall()
        tags = store.execute("select run_uuid, key, value from tags").fetchall()
        metrics = store.execute("select run_uuid, key, value from latest_metrics").fetchall()
    return [
        {
            "id": run,
            "status": status,
            "tags": {key: value for uuid, key, value in tags if uuid == run},
            "metrics": {key: value for uuid, key, value in metrics if uuid == run},
        }
        for run, status in runs
    ]


def agree(trials: list[optuna.trial.FrozenTrial], database: Path) -> None:
    """MLflow says of each trial what Optuna says, below one parent; none is RUNNING."""
    runs = runs_of(database)
    (parent,) = [run for run in runs if run["tags"].get("kind") == "study"]
    assert parent["status"] == "FINISHED"
    seen = set()
    for run in runs:
        if run is parent:
            continue
        assert run["tags"]["mlflow.parentRunId"] == parent["id"]
        trial = trials[int(run["tags"]["optuna.trial_number"])]
        assert trial.number not in seen, "a trial has one run"
        seen.add(trial.number)
        assert run["status"] == STATUS[trial.state.name], (trial.number, run["tags"])
        if run["status"] == "FAILED":
            assert run["tags"]["failure"] == trial.user_attrs["failure"]
        elif run["status"] == "FINISHED":
            assert run["metrics"]["final/validation_accuracy"] == trial.value
    assert seen == {trial.number for trial in trials}


def trials_in(folder: Path, name: str = "optuna") -> list[optuna.trial.FrozenTrial]:
    """The trials of a journal, as Optuna alone reads them."""
    return load(folder, name).trials


def trials_at(url: str, name: str) -> list[optuna.trial.FrozenTrial]:
    """The trials of a study on a database server, none if it has no such study yet."""
    storage = optuna.storages.RDBStorage(url)
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    except KeyError:
        return []
    finally:
        storage.remove_session()
        storage.engine.dispose()


def runs_at(uri: str, experiment: str):
    """The runs on an MLflow server: those of studies, and those of trials."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    parents = [run for run in runs if run.data.tags.get("kind") == "study"]
    return parents, [run for run in runs if run not in parents]
