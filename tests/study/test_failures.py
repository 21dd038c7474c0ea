"""Trials that fail: the study goes on, and says why, on Optuna as on MLflow."""

from __future__ import annotations

from tests.studied import agree, runs_of, search, trials_in

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
