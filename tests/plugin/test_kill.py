"""kill -9 at random moments: of a worker, of the controller, of all; the study ends unharmed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import optuna
import pytest
from optuna.trial import TrialState

from hydra_plugins.hydra_optuna_study._process import process_of
from tests.needs import needs_package
from tests.plugin.sweeping import FINISHED, account, kept, load, start, sweep

SEED = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
N_TRIALS = 12
SETTINGS = (
    f"hydra.sweeper.n_trials={N_TRIALS}",
    "hydra.sweeper.workers=2",
    "sleep=0.25",
)
ENGINES = {
    "joblib": ("hydra/launcher=joblib",),
    "basic": ("hydra/launcher=basic", "hydra.sweeper.workers=1"),
    "submitit_local": ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"),
}
KILLS = {"joblib": 15, "basic": 11, "submitit_local": 5}
SEPARATE = ["joblib", "submitit_local", "ray"]  # whose workers are processes of their own
EXTRAS = {"ray": ("ray", "ray"), "submitit_local": ("submitit", "slurm")}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_study_survives_kills_at_random_moments(tmp_path, engine):
    """Exactly its budget is finished, none lost, none twice, every folder intact."""
    if engine in EXTRAS:
        needs_package(*EXTRAS[engine])
    chance = random.Random(f"{SEED} {engine}")
    print(f"KILL_SEED={SEED}")
    overrides = (*SETTINGS, *ENGINES[engine])
    controller = start(tmp_path, *overrides)
    kills = 0
    deadline = time.monotonic() + 120
    while kills < KILLS[engine] and time.monotonic() < deadline:
        if chance.random() < 0.8:
            wait_for_work(tmp_path, controller)
        time.sleep(chance.uniform(0.0, 0.5))
        if controller.poll() is not None:
            break
        kills += kill(
            chance.choice(["worker", "worker", "controller", "all"]), controller, tmp_path
        )
        if controller.poll() is not None:
            controller = start(tmp_path, *overrides)
    if controller.wait(timeout=90):
        sweep(tmp_path, *overrides)
    check(tmp_path, (tmp_path / "output.txt").read_text())
    print(f"{kills} kills, {len(load(tmp_path).trials)} trials for {N_TRIALS}")
    assert kills >= KILLS[engine]


@pytest.mark.parametrize("engine", SEPARATE)
def test_a_worker_that_is_asked_to_end_gives_its_trial_back(tmp_path, engine):
    """SIGTERM, as clusters send it: nothing fails, no retry is used, the study goes on."""
    if engine in EXTRAS:
        needs_package(*EXTRAS[engine])
    overrides = (*SETTINGS, f"hydra/launcher={engine}", "hydra.sweeper.max_retries=0")
    controller = start(tmp_path, *overrides)
    deadline = time.monotonic() + 60
    while not (alive := working(tmp_path)):
        assert time.monotonic() < deadline, (tmp_path / "output.txt").read_text()
        time.sleep(0.05)
    os.kill(alive[0], signal.SIGTERM)
    assert controller.wait(timeout=90) == 0, (tmp_path / "output.txt").read_text()
    trials = load(tmp_path).trials
    assert [t.state for t in kept(trials)] == [TrialState.COMPLETE] * N_TRIALS
    (given_back,) = [t for t in trials if t.state == TrialState.FAIL]
    assert given_back.user_attrs["failure"] == "interrupted; it is tried again"


def study_of(folder) -> list[optuna.trial.FrozenTrial]:
    try:
        return kept(load(folder).trials)
    except (KeyError, FileNotFoundError):
        return []


def working(folder) -> list[int]:
    """The live workers of running trials."""
    running = [t for t in study_of(folder) if t.state == TrialState.RUNNING]
    workers = [process_of(t.user_attrs["worker"]) for t in running if "worker" in t.user_attrs]
    return [worker.pid for worker in workers if worker.is_alive]


def wait_for_work(folder, controller) -> None:
    """Most kills shall hit a trial; some fall into a start, as they come."""
    deadline = time.monotonic() + 15
    while not working(folder) and controller.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def kill(whom: str, controller: subprocess.Popen[bytes], folder) -> int:
    """Send SIGKILL; how many processes were hit."""
    alive = [pid for pid in working(folder) if pid != controller.pid]
    victims = {"worker": alive[:1], "controller": [controller.pid], "all": [*alive, controller.pid]}
    hit = victims[whom] or [controller.pid]
    for pid in hit:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    if controller.pid in hit:
        controller.wait()
    return len(hit)


def check(folder, output: str) -> None:
    """The study as Optuna alone reads it, against what the trials wrote themselves."""
    trials = load(folder).trials
    final = kept(load(folder).trials)
    states = [t.state for t in final]
    assert states == [TrialState.COMPLETE] * N_TRIALS, f"{states}\n{output}"
    by_number = {t.number: t for t in trials}
    for trial in trials:
        assert trial.state in FINISHED
        if "retry_of" in trial.user_attrs:
            before = by_number[trial.user_attrs["retry_of"]]
            assert before.state == TrialState.FAIL
            assert before.user_attrs["failure"].startswith("its worker died")
            assert before.params.items() <= trial.params.items()
    for trial in final:
        begin, end = account(folder, trial.number)
        assert begin.startswith("begin")
        assert end.startswith("end")
        assert (folder / "multirun/toy" / str(trial.number) / ".hydra/config.yaml").exists()
    points = {tuple(t.params.values()) for t in final}
    assert len(points) == N_TRIALS
