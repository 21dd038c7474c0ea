"""Each engine runs a tracked study; what an engine lacks is said in one sentence."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import psutil
import pytest
from optuna.trial import TrialState

from mnist_study import cli as command_line
from tests.command import mnist_study
from tests.needs import needs_package
from tests.studied import agree, search, trials_in

EXTRAS = {"ray": ("ray", "ray"), "submitit": ("submitit", "slurm")}
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster()
for _ in range(2):
    node = cluster.add_node(
        num_cpus=1, include_dashboard=False, object_store_memory=80_000_000,
        node_ip_address="127.0.0.2",  # Ray takes 127.0.0.1 for the outer address
    )
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.mark.parametrize("engine", ["local", "processes", "submitit", "ray"])
def test_an_engine_runs_a_study_and_another_goes_on_with_it(engine, tmp_path):
    """Its trials are in MLflow and in folders of their own; the engine is not part of the study."""
    if engine in EXTRAS:
        needs_package(*EXTRAS[engine])
    words = ["hydra.sweeper.workers=2", f"engine={engine}", "pruner=none"]
    done = search(*words, "hydra.sweeper.n_trials=3", folder=tmp_path)
    assert "optuna: 3/3 trials" in done.stdout
    assert done.stderr == ""
    search("engine=local", "pruner=none", "hydra.sweeper.n_trials=4", folder=tmp_path)
    trials = trials_in(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    agree(trials, tmp_path / "mlflow.db")
    for trial in trials:
        assert (tmp_path / f"multirun/optuna/{trial.number}/.hydra/config.yaml").exists()


def test_one_study_over_a_ray_cluster_of_two_nodes(tmp_path):
    """Two workers at once, each below another node's raylet; the store is the one typed here."""
    needs_package("ray", "ray")
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd="/",  # where its workers find themselves: not in the user's folder
    )
    raylets: set[int] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            for trial in running(tmp_path):
                worker = trial.user_attrs.get("worker")
                if worker and psutil.pid_exists(worker["pid"]):
                    raylets.add(psutil.Process(worker["pid"]).ppid())

    watching = threading.Thread(target=watch)
    try:
        address = cluster.stdout.readline().strip()
        watching.start()
        words = ["engine=ray", f"hydra.launcher.ray.init.address={address}", "training.epochs=3"]
        search(
            *words, "hydra.sweeper.workers=2", "hydra.sweeper.n_trials=6", "pruner=none",
            folder=tmp_path,
        )  # fmt: skip
    finally:
        over.set()
        cluster.communicate(timeout=60)
    watching.join()
    assert len(raylets) == 2
    trials = trials_in(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    agree(trials, tmp_path / "mlflow.db")


def running(folder):
    try:
        return [trial for trial in trials_in(folder) if trial.state == TrialState.RUNNING]
    except (KeyError, FileNotFoundError):
        return []


def test_slurm_is_composed_and_its_absence_told(tmp_path, monkeypatch):
    """One array of workers; without Slurm one sentence says so, and the exit code is 1."""
    needs_package("submitit", "slurm")
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no srun
    words = ["+sweep=optuna", "engine=slurm"]
    composed = mnist_study(*words, "--cfg", "hydra", "-p", "hydra.launcher", folder=tmp_path)
    assert "SlurmLauncher" in composed.stdout
    started = time.monotonic()
    done = mnist_study(*words, "tracking=none", folder=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "srun" in done.stderr
    assert time.monotonic() - started < 60


def test_a_launcher_that_is_not_installed_is_named(monkeypatch):
    """The sentence has the pip command."""
    monkeypatch.setattr(command_line, "find_spec", lambda name: None)
    for engine, extra in {"ray": "ray", "slurm": "slurm", "submitit": "slurm"}.items():
        told = command_line.validate(["+sweep=optuna", f"engine={engine}"])
        assert told == f"engine={engine} needs one more package: pip install 'mnist-study[{extra}]'"
    assert command_line.validate(["+sweep=optuna", "engine=local"]) is None


def test_only_a_search_has_an_engine_a_sampler_and_a_pruner(tmp_path):
    """A plain run with one of them is refused, with what is missing."""
    done = mnist_study("sampler=tpe", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "mnist_study: sampler=tpe is for a search, and +sweep=... is missing; try +sweep=optuna\n"
    )
