"""A search on a real Slurm: one array of workers, its tasks killed and cancelled."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
from optuna.trial import TrialState

from hydra_plugins.hydra_optuna_study._process import process_of
from tests.needs import needs_package
from tests.plugin.sweeping import kept
from tests.studied import STATUS, runs_at, search, start, trials_at

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


def living(postgres, name):
    """The processes that work on a trial."""
    trials = trials_at(postgres.url, name)
    signed = [t for t in trials if t.state == TrialState.RUNNING and "worker" in t.user_attrs]
    workers = [process_of(t.user_attrs["worker"]) for t in signed]
    return [worker.pid for worker in workers if worker.is_alive]


@pytest.mark.timeout(240)
def test_an_array_of_workers_survives_a_kill_and_a_cancelled_task(
    slurm, postgres, server, tmp_path, monkeypatch
):
    """kill -9 of one task and scancel of the other: exactly the budget, and MLflow agrees."""
    needs_package("submitit", "slurm")
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    words = [
        f"hydra.sweeper.storage={postgres.url}", "hydra.sweeper.study_name=queued",
        f"tracking.uri={server.uri}", "tracking.experiment=queued", "pruner=none",
        "engine=slurm", "hydra.sweeper.workers=2", "hydra.sweeper.n_trials=4",
        "training.epochs=4", "hydra.sweeper.max_retries=9",
    ]  # fmt: skip
    controller = start(*words, folder=tmp_path)
    output = tmp_path / "output.txt"
    deadline = time.monotonic() + 60
    while len(pids := living(postgres, "queued")) < 2:
        assert time.monotonic() < deadline, output.read_text()
        assert controller.poll() is None, output.read_text()
        time.sleep(0.1)
    killed, cancelled = pids
    task = psutil.Process(cancelled).environ()
    os.kill(killed, signal.SIGKILL)
    array = f"{task['SLURM_ARRAY_JOB_ID']}_{task['SLURM_ARRAY_TASK_ID']}"
    slurm.ask("scancel", array)
    assert controller.wait(timeout=120) == 0, output.read_text()
    assert f"{array}|CANCELLED" in slurm.ask("sacct", "-n", "-P", "-X", "-o", "JobID,State")

    trials = trials_at(postgres.url, "queued")
    assert [t.state for t in kept(trials)] == [TrialState.COMPLETE] * 4
    failed = [t.user_attrs["failure"] for t in trials if t.state == TrialState.FAIL]
    assert failed
    assert all("it is tried again" in failure for failure in failed)
    parents, children = runs_at(server.uri, "queued")
    assert [run.info.status for run in parents] == ["FINISHED"]
    states = {int(r.data.tags["optuna.trial_number"]): r.info.status for r in children}
    assert states == {t.number: STATUS[t.state.name] for t in trials}
    assert slurm.ask("squeue", "-h") == ""
    assert "is complete: 4 trials" in search(*words, folder=tmp_path).stdout
