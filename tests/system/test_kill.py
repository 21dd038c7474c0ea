"""kill -9 at random moments of a tracked study: nothing is lost, and MLflow agrees with Optuna."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.campaigns.kills import ENGINES, survive
from tests.needs import needs_package
from tests.studied import agree, runs_of, search, start, trials_in

SEED = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
EXTRAS = {"submitit": ("submitit", "slurm"), "ray": ("ray", "ray")}


@pytest.mark.timeout(290)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_tracked_study_survives_kills(engine, tmp_path):
    """Exactly its budget is finished; every run has its trial's state and reason, none RUNNING."""
    if engine in EXTRAS:
        needs_package(*EXTRAS[engine])
    print(f"KILL_SEED={SEED}")
    survive(engine, tmp_path, random.Random(f"{SEED} {engine}"))


def test_what_a_killed_worker_had_not_sent_arrives_in_the_end(tmp_path):
    """All is killed inside a trial; the same command sends its curves, and tells its reason."""
    words = ("hydra.sweeper.n_trials=1", "engine=local", "training.epochs=30")
    controller = start(*words, folder=tmp_path)
    records = tmp_path / "multirun/optuna/0/tracking/records.jsonl"
    deadline = time.monotonic() + 60
    while not records.exists() or '"metrics"' not in records.read_text():
        assert time.monotonic() < deadline, (tmp_path / "output.txt").read_text()
        time.sleep(0.01)
    controller.kill()
    controller.wait()
    search(*words, folder=tmp_path)
    trials = trials_in(tmp_path)
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE"]
    assert trials[1].user_attrs["retry_of"] == 0
    agree(trials, tmp_path / "mlflow.db")
    runs = [r for r in runs_of(tmp_path / "mlflow.db") if "optuna.trial_number" in r["tags"]]
    (killed,) = [run for run in runs if run["tags"]["optuna.trial_number"] == "0"]
    assert killed["metrics"]["train/loss"] > 0


def test_a_kill_while_the_database_is_made_spoils_nothing(tmp_path):
    """MLflow could never use tables of which it had made the half; the same command just works."""
    words = ("hydra.sweeper.n_trials=1", "engine=local")
    controller = start(*words, folder=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "mlflow.db.partial").exists():
        assert time.monotonic() < deadline, (tmp_path / "output.txt").read_text()
        time.sleep(0.01)
    time.sleep(0.2)
    controller.kill()
    controller.wait()
    assert not (tmp_path / "mlflow.db").exists()
    search(*words, folder=tmp_path)
    agree(trials_in(tmp_path), tmp_path / "mlflow.db")
