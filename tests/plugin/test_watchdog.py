"""A controller is killed: its pool's processes end by themselves, whatever they were at."""

from __future__ import annotations

import time

import psutil
import pytest
from optuna.trial import TrialState

from tests.plugin.sweeping import account, load, start

JOBLIB = ("hydra/launcher=joblib", "hydra.sweeper.workers=2", "hydra.sweeper.n_trials=40")


def pool_of(controller) -> list[psutil.Process]:
    """The worker processes of a controller, from their first moment on."""
    return [
        child
        for child in psutil.Process(controller.pid).children()
        if any("popen_loky" in word for word in child.cmdline())
    ]


def wait_for(what, folder):
    deadline = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < deadline, (folder / "output.txt").read_text()
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.6, 1.2])
def test_a_worker_that_was_starting_ends_with_its_controller(tmp_path, seconds):
    """Before its first job there is no trial to end, and nobody will ever give it one."""
    controller = start(tmp_path, *JOBLIB)
    pool = wait_for(lambda: pool_of(controller), tmp_path)
    time.sleep(seconds)
    pool = pool_of(controller)
    controller.kill()
    controller.wait()
    _, alive = psutil.wait_procs(pool, timeout=20)
    assert alive == []


def test_a_worker_at_work_ends_its_trial_first(tmp_path):
    """What it has computed is not thrown away; then it begins no other."""
    controller = start(tmp_path, *JOBLIB, "sleep=0.5")
    folder = tmp_path / "multirun/toy"
    wait_for(lambda: len(list(folder.glob("*/account.txt"))) == 2, tmp_path)
    pool = pool_of(controller)
    controller.kill()
    controller.wait()
    _, alive = psutil.wait_procs(pool, timeout=20)
    assert alive == []
    assert [t.state for t in load(tmp_path).trials] == [TrialState.COMPLETE] * 2
    assert all(account(tmp_path, number)[-1].startswith("end") for number in range(2))
