"""Several machines on one PostgreSQL: a real server of the test's own, on a loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.plugin.sweeping import kept, start, sweep

pytest.importorskip("psycopg", reason="pip install 'mnist-study[postgres]'")


class Server:
    """A cluster in a temporary folder; an unprivileged user runs it if the tests are root's."""

    def __init__(self, binaries: Path) -> None:
        self.binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="study-postgres-"))
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"postgresql+psycopg://study@127.0.0.1:{self.port}/postgres"
        init = [binaries / "initdb", "-D", self.folder / "data", "-U", "study", "-A", "trust", "-N"]
        subprocess.run(init, user=self.user, check=True, stdout=subprocess.DEVNULL)
        self.start()

    def start(self) -> None:
        settings = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-c", "fsync=off"]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.folder / "data", *settings],
                user=self.user,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                import psycopg

                psycopg.connect(
                    f"host=127.0.0.1 port={self.port} user=study dbname=postgres"
                ).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise AssertionError("PostgreSQL did not start")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)  # "fast": connections are cut
        self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def server():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [shutil.which("initdb")]
    if not found[-1]:
        pytest.skip("PostgreSQL is not installed")
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("no unprivileged user to run PostgreSQL")
    made = Server(Path(found[-1]).parent)
    yield made
    made.stop()
    shutil.rmtree(made.folder)
    made.folder.with_name(f"{made.folder.name}.log").unlink()


def trials_at(server, name="toy") -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(server.url)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return trials


def folders(tmp_path) -> list[Path]:
    made = [tmp_path / "here", tmp_path / "there"]
    for folder in made:
        folder.mkdir()
    return made


def test_two_controllers_join_one_study(server, tmp_path):
    """Started at the same moment in two folders: one study, both work, the total is exact."""
    overrides = (f"hydra.sweeper.storage={server.url}", "hydra.sweeper.n_trials=14", "sleep=0.15")
    both = [(folder, start(folder, *overrides)) for folder in folders(tmp_path)]
    for folder, controller in both:
        assert controller.wait(timeout=90) == 0, (folder / "said.txt").read_text()
    trials = trials_at(server)
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 14
    assert len({t.user_attrs["worker"]["pid"] for t in trials}) == 2
    for folder, _ in both:
        ran = {int(p.parent.name) for p in (folder / "multirun/toy").glob("*/account.txt")}
        pids = {trials[number].user_attrs["worker"]["pid"] for number in ran}
        assert len(pids) == 1, "a folder holds the trials of its own controller"
    assert "is complete: 14 trials" in sweep(folder, *overrides).stdout


def test_the_other_controller_finishes_what_a_killed_one_began(server, tmp_path):
    """kill -9 of one of two: its trial is tried again by the other, the total stays exact."""
    name = "hydra.sweeper.study_name=killed"
    rest = (f"hydra.sweeper.storage={server.url}", "hydra.sweeper.n_trials=8", "sleep=0.3")
    here, there = folders(tmp_path)
    doomed, heir = start(here, name, *rest), start(there, name, *rest)
    deadline = time.monotonic() + 30
    while not list((here / "multirun/killed").glob("*/account.txt")):
        assert time.monotonic() < deadline, (here / "said.txt").read_text()
        time.sleep(0.05)
    doomed.kill()
    doomed.wait()
    assert heir.wait(timeout=90) == 0, (there / "said.txt").read_text()
    trials = trials_at(server, "killed")
    assert [t.state for t in kept(trials)] == [TrialState.COMPLETE] * 8
    failures = [t.user_attrs["failure"] for t in trials if t.state == TrialState.FAIL]
    assert failures == ["its worker died; it is tried again"]


def test_a_study_waits_for_a_server_that_restarts(server, tmp_path):
    """No trial fails because the database was away for some seconds."""
    overrides = (f"hydra.sweeper.storage={server.url}", "hydra.sweeper.study_name=patient")
    controller = start(tmp_path, *overrides, "sleep=0.3")
    deadline = time.monotonic() + 30
    while not list((tmp_path / "multirun/patient").glob("*/account.txt")):
        assert time.monotonic() < deadline, (tmp_path / "said.txt").read_text()
        time.sleep(0.05)
    server.stop()
    time.sleep(2)
    server.start()
    assert controller.wait(timeout=90) == 0, (tmp_path / "said.txt").read_text()
    assert [t.state for t in trials_at(server, "patient")] == [TrialState.COMPLETE] * 6


def test_a_password_stays_secret(tmp_path):
    """A server that cannot be reached is named without its password."""
    url = "postgresql+psycopg://study:sesame@127.0.0.1:1/postgres"
    done = sweep(tmp_path, f"hydra.sweeper.storage={url}", code=2)
    assert "cannot reach postgresql+psycopg://study:***@127.0.0.1:1/postgres" in done.stderr
    assert "sesame" not in done.stderr
