"""Workers share a budget: whatever they do at the same moment, the total is exact."""

from __future__ import annotations

import threading
import time

import optuna
import pytest

from hydra_plugins.hydra_optuna_study import StorageLocation, _worker_study
from hydra_plugins.hydra_optuna_study._config import SweepConfig
from hydra_plugins.hydra_optuna_study._process import stop_requested, this_process
from hydra_plugins.hydra_optuna_study._space import Space
from hydra_plugins.hydra_optuna_study._worker_study import BudgetExhausted, WorkerStudy


@pytest.fixture
def sweep(tmp_path):
    """A study of three trials, stored in a journal file."""
    stop_requested.clear()
    location = StorageLocation(str(tmp_path / "s.journal"))
    optuna.create_study(study_name="s", storage=location.open())
    return SweepConfig(
        study_name="s",
        n_trials=3,
        workers=6,
        storage=location,
        folder=tmp_path,
        space=Space((), ()),
        directions=("minimize",),
        metrics=(),
        sampler={"_target_": "optuna.samplers.RandomSampler"},
        pruner=None,
        callback=None,
        max_failure_rate=1.0,
        max_retries=0,
        retry_failed=False,
        free=(),
        dead_hosts=(),
        seed=0,
        controller=this_process(),
    )


def test_claims_at_the_same_moment_stay_within_the_budget(sweep, monkeypatch):
    """Six workers that pause between counting and claiming start three trials, and no more."""
    count = _worker_study.trials_by_state

    def count_slowly(study):
        trials = count(study)
        time.sleep(0.05)
        return trials

    monkeypatch.setattr(_worker_study, "trials_by_state", count_slowly)
    claimed, exhausted = [], []
    together = threading.Barrier(sweep.workers)

    def work(number):
        study = WorkerStudy(sweep, sweep.storage.open(), 0, number)
        together.wait(20)
        try:
            claimed.append(study.ask().number)
        except BudgetExhausted:
            exhausted.append(number)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(sweep.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(claimed) == [0, 1, 2]
    assert len(exhausted) == 3
    study = optuna.load_study(study_name="s", storage=sweep.storage.open())
    assert len(study.trials) == 3
    assert all("worker" in trial.user_attrs for trial in study.trials)
