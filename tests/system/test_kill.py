"""kill -9 at random moments of a tracked study: nothing is lost, and MLflow agrees with Optuna."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from optuna.trial import TrialState

from hydra_plugins.hydra_optuna_study._process import process_of
from tests.needs import needs_package
from tests.plugin.sweeping import FINISHED, kept
from tests.studied import agree, runs_of, search, start, trials_in

SEED = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
N_TRIALS = 6
KILLS = {  # about 25 processes in all; the plugin's own tests kill 31 of a toy
    "processes": ["worker", "controller", "all", "worker", "all", "controller"],
    "local": ["controller"] * 3,
    "submitit": ["all", "worker", "controller", "all"],
    "ray": ["worker", "all", "controller"],
}
EXTRAS = {"submitit": ("submitit", "slurm"), "ray": ("ray", "ray")}
WORDS = (
    f"hydra.sweeper.n_trials={N_TRIALS}",
    "hydra.sweeper.workers=2",
    "training.epochs=4",
    "model.depth=range(1,3)",
)


def running(folder):
    try:
        return [trial for trial in trials_in(folder) if trial.state == TrialState.RUNNING]
    except (KeyError, FileNotFoundError):
        return []


def workers(folder) -> list[int]:
    """The live workers of running trials."""
    signed = [t.user_attrs["worker"] for t in running(folder) if "worker" in t.user_attrs]
    return [worker.pid for worker in map(process_of, signed) if worker.is_alive]


@pytest.mark.timeout(290)
@pytest.mark.parametrize("engine", KILLS)
def test_a_tracked_study_survives_kills(engine, tmp_path):
    """Exactly its budget is finished; every run has its trial's state and reason, none RUNNING."""
    if engine in EXTRAS:
        needs_package(*EXTRAS[engine])
    chance = random.Random(f"{SEED} {engine}")
    print(f"KILL_SEED={SEED}")
    words = (*WORDS, f"engine={engine}")
    controller = start(*words, folder=tmp_path)
    done = 0
    for whom in KILLS[engine]:
        deadline = time.monotonic() + 60
        while not workers(tmp_path) and controller.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(chance.uniform(0.0, 1.5))
        if controller.poll() is None:
            alive = workers(tmp_path)
            victims = alive[:1] if whom == "worker" else alive if whom == "all" else []
            for pid in {*victims, *([] if whom == "worker" else [controller.pid])}:
                try:
                    os.kill(pid, signal.SIGKILL)
                    done += 1
                except ProcessLookupError:
                    continue
        if whom != "worker":
            controller.wait(timeout=30)
        if controller.poll() is not None:
            controller = start(*words, folder=tmp_path)
    assert controller.wait(timeout=180) == 0, (tmp_path / "output.txt").read_text()
    assert "is complete" in search(*words, folder=tmp_path).stdout
    trials = trials_in(tmp_path)
    output = (tmp_path / "output.txt").read_text()
    print(f"{done} kills, {len(trials)} trials for {N_TRIALS}\n{output}")
    assert done >= len(KILLS[engine]) - 1  # one may come when all is done
    assert all(trial.state in FINISHED for trial in trials)
    assert sum(t.state != TrialState.FAIL for t in kept(trials)) == len(kept(trials)) == N_TRIALS
    agree(trials, tmp_path / "mlflow.db")
    for trial in kept(trials):
        folder = tmp_path / "multirun/optuna" / str(trial.number)
        assert (folder / ".hydra/config.yaml").exists()
        assert (folder / "tracking/records.jsonl").read_text().count('"end"') == 1


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
