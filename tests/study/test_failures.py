"""Trials that fail: the study goes on, and says why, on Optuna as on MLflow."""

from __future__ import annotations

import shutil
import socket
import time

import pytest
from optuna.trial import TrialState

from hydra_plugins.hydra_optuna_study import find_storage
from hydra_plugins.hydra_optuna_study._trials import fail_stale_trials
from tests.plugin.sweeping import kept, load
from tests.studied import agree, runs_of, search, start, trials_in

GRID = ["engine=local", "sampler=grid", "hydra.sweeper.n_trials=null", "training.batch_size=500"]


def test_trials_that_diverge_or_run_out_of_memory_fail_with_their_reason(tmp_path):
    """One trains; a rate of 1e30 diverges, a layer of 31 TB is refused by the machine."""
    words = ["optimizer.lr=choice(0.1,1e30)", "model.depth=2", "model.width=choice(16,10000000000)"]
    done = search(*GRID, *words, folder=tmp_path)
    trials = trials_in(tmp_path)
    assert sorted(trial.state.name for trial in trials) == ["COMPLETE", "FAIL", "FAIL", "FAIL"]
    for trial in trials:
        failure = trial.user_attrs.get("failure", "")
        if trial.params["model.width"] > 16:
            assert "must fit into memory" in failure
        elif trial.params["optimizer.lr"] > 1:
            assert failure.startswith("Diverged: ")
    assert "3 of 4 finished trials failed; trial " in done.stderr
    runs = runs_of(tmp_path / "mlflow.db")
    failures = [run["tags"].get("failure", "") for run in runs]
    assert sum(failure.startswith("Diverged: ") for failure in failures) == 1
    # Without a network there is no run; what has a run agrees.
    agree(trials, tmp_path / "mlflow.db")


def test_a_study_stops_past_its_rate_of_failures(tmp_path):
    """Exit code 1, the key, the trial and its reason; the study's run is not FINISHED."""
    words = ["optimizer.lr=choice(1e30,2e30,3e30)", "model.depth=2"]
    done = search(*GRID, *words, "hydra.sweeper.max_failure_rate=0.3", folder=tmp_path, code=1)
    assert "more than hydra.sweeper.max_failure_rate=0.3; trial 0: Diverged: " in done.stderr
    assert [run["status"] for run in runs_of(tmp_path / "mlflow.db")] == ["KILLED", "FAILED"]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("hydra.sweeper.metric=validation/acuracy", "did you mean validation/accuracy?"),
        ("data.validation=0", "data.validation >= 1 must hold for a search by validation/accuracy"),
        ("data=idx data.root=nowhere", "nowhere"),
        ("optimizer.lr=fast", "optimizer.lr must be of type float, got 'fast'"),
        ("training.batch_size=choice(0,70000)", "training.batch_size must be an integer >= 1"),
    ],
)
def test_what_one_point_tells_is_refused_before_the_first(tmp_path, word, sentence):
    """One sentence and code 2; no study, no store and no folder of a trial is made."""
    done = search(*word.split(), folder=tmp_path, code=2)
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "multirun").exists()


def test_a_worker_that_was_taken_for_dead_has_no_say(tmp_path):
    """Its trial is failed and tried again, and its run ends FAILED with the same reason."""
    words = ("hydra.sweeper.n_trials=1", "engine=local", "training.epochs=30", "model.width=64")
    process = start(*words, folder=tmp_path)
    deadline = time.monotonic() + 60
    while not any(t.intermediate_values for t in _trials(tmp_path)):
        assert time.monotonic() < deadline, (tmp_path / "output.txt").read_text()
        time.sleep(0.05)
    study = load(tmp_path, "optuna")
    with find_storage(str(tmp_path / "multirun/optuna/study.journal"), tmp_path).lock():
        fail_stale_trials(study, 2, dead_hosts=[socket.gethostname()])
    assert process.wait(timeout=120) == 0, (tmp_path / "output.txt").read_text()
    trials = trials_in(tmp_path)
    assert [t.state for t in trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert trials[1].user_attrs["retry_of"] == 0
    agree(trials, tmp_path / "mlflow.db")


def _trials(folder):
    try:
        return trials_in(folder)
    except (KeyError, FileNotFoundError):
        return []


def test_a_store_that_lost_its_runs_gets_them_again(tmp_path):
    """The same command fills a new database from the folders, pictures and all.

    Of a trial whose folder is gone, too, it gets parameters and value.
    """
    words = ("hydra.sweeper.n_trials=3", "engine=local", "training.test=end")
    search(*words, folder=tmp_path)
    before = runs_of(tmp_path / "mlflow.db")
    (tmp_path / "mlflow.db").unlink()
    shutil.rmtree(tmp_path / "mlruns", ignore_errors=True)
    shutil.rmtree(tmp_path / "mlartifacts", ignore_errors=True)
    shutil.rmtree(tmp_path / "multirun/optuna/1")
    assert "the store has lost 2 runs" in search(*words, folder=tmp_path).stdout
    agree(trials_in(tmp_path), tmp_path / "mlflow.db")
    after = runs_of(tmp_path / "mlflow.db")
    assert len(after) == len(before)
    numbers = {run["tags"].get("optuna.trial_number"): run for run in after}
    for run in before:
        number = run["tags"].get("optuna.trial_number")
        if number in ("0", "2"):
            assert numbers[number]["metrics"] == run["metrics"]
    assert len(list(tmp_path.glob("ml*/**/weights.png"))) == 2


def test_a_cut_journal_leaves_one_run_a_trial(tmp_path):
    """Its lost trials' numbers are given away again, and MLflow has each number once."""
    words = ("hydra.sweeper.n_trials=3", "engine=local")
    search(*words, folder=tmp_path)
    journal = tmp_path / "multirun/optuna/study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    starts = [k for k, line in enumerate(lines) if b'"op_code":4' in line.replace(b" ", b"")]
    journal.write_bytes(b"".join(lines[: starts[1]]))  # before the second trial
    search(*words, folder=tmp_path)
    trials = trials_in(tmp_path)
    assert len(kept(trials)) == 3
    runs = runs_of(tmp_path / "mlflow.db")
    lost = [run for run in runs if run["tags"].get("failure") == "its study has lost this trial"]
    assert len(lost) == 2
    below = [run for run in runs if "optuna.trial_number" in run["tags"]]
    assert sorted(int(run["tags"]["optuna.trial_number"]) for run in below) == [0, 1, 2]
