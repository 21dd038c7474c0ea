"""Several machines on one PostgreSQL: a real server of the test's own, on a loopback port."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import optuna
from optuna.trial import TrialState

from hydra_plugins.hydra_optuna_study._storage import StorageLocation
from tests.needs import needs_package
from tests.plugin.sweeping import kept, start, sweep


def trials_at(postgres, name="toy") -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(postgres.url)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return trials


def folders(tmp_path) -> list[Path]:
    made = [tmp_path / "here", tmp_path / "there"]
    for folder in made:
        folder.mkdir()
    return made


def test_two_controllers_join_one_study(postgres, tmp_path):
    """Started at the same moment in two folders: one study, both work, the total is exact."""
    overrides = (f"hydra.sweeper.storage={postgres.url}", "hydra.sweeper.n_trials=14", "sleep=0.15")
    both = [(folder, start(folder, *overrides)) for folder in folders(tmp_path)]
    for folder, controller in both:
        assert controller.wait(timeout=90) == 0, (folder / "output.txt").read_text()
    trials = trials_at(postgres)
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 14
    assert len({t.user_attrs["worker"]["pid"] for t in trials}) == 2
    for folder, _ in both:
        ran = {int(p.parent.name) for p in (folder / "multirun/toy").glob("*/account.txt")}
        pids = {trials[number].user_attrs["worker"]["pid"] for number in ran}
        assert len(pids) == 1, "a folder holds the trials of its own controller"
    assert "is complete: 14 trials" in sweep(folder, *overrides).stdout


def test_the_other_controller_finishes_what_a_killed_one_began(postgres, tmp_path):
    """kill -9 of one of two: its trial is tried again by the other, the total stays exact."""
    name = "hydra.sweeper.study_name=killed"
    rest = (f"hydra.sweeper.storage={postgres.url}", "hydra.sweeper.n_trials=8", "sleep=0.3")
    here, there = folders(tmp_path)
    killed, survivor = start(here, name, *rest), start(there, name, *rest)
    deadline = time.monotonic() + 30
    while not list((here / "multirun/killed").glob("*/account.txt")):
        assert time.monotonic() < deadline, (here / "output.txt").read_text()
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert survivor.wait(timeout=90) == 0, (there / "output.txt").read_text()
    trials = trials_at(postgres, "killed")
    assert [t.state for t in kept(trials)] == [TrialState.COMPLETE] * 8
    failures = [t.user_attrs["failure"] for t in trials if t.state == TrialState.FAIL]
    assert failures == ["its worker died; it is tried again"]


def test_a_study_waits_for_a_server_that_restarts(postgres, tmp_path):
    """No trial fails because the database was away for some seconds."""
    overrides = (f"hydra.sweeper.storage={postgres.url}", "hydra.sweeper.study_name=restarted")
    controller = start(tmp_path, *overrides, "sleep=0.3")
    deadline = time.monotonic() + 30
    while not list((tmp_path / "multirun/restarted").glob("*/account.txt")):
        assert time.monotonic() < deadline, (tmp_path / "output.txt").read_text()
        time.sleep(0.05)
    postgres.stop()
    time.sleep(2)
    postgres.start()
    assert controller.wait(timeout=90) == 0, (tmp_path / "output.txt").read_text()
    assert [t.state for t in trials_at(postgres, "restarted")] == [TrialState.COMPLETE] * 6


def test_the_best_trial_waits_for_a_server_that_restarts(postgres):
    """What is read at the end of a search waits as well."""
    storage = StorageLocation(postgres.url).open()
    study = optuna.create_study(study_name="asked", storage=storage)
    study.add_trial(optuna.create_trial(value=1.0))
    postgres.stop()
    later = threading.Timer(2, postgres.start)
    later.start()
    try:
        assert (study.best_value, study.best_trial.number) == (1.0, 0)
    finally:
        later.join()
        storage.remove_session()
        storage._backend.engine.dispose()


def test_a_password_stays_secret(tmp_path):
    """A server that cannot be reached is named without its password."""
    needs_package("psycopg", "postgres")
    url = "postgresql+psycopg://study:sesame@127.0.0.1:1/postgres"
    done = sweep(tmp_path, f"hydra.sweeper.storage={url}", code=2)
    assert "cannot reach postgresql+psycopg://study:***@127.0.0.1:1/postgres" in done.stderr
    assert "sesame" not in done.stderr
