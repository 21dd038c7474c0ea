"""A password that is typed, or comes from the environment, is on no disk and on no terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from hydra_plugins.hydra_optuna_study import hide_password
from hydra_plugins.hydra_optuna_study._program import without_passwords
from tests.needs import needs_package
from tests.plugin.sweeping import command, environment, start, sweep

SECRET = "open-sesame"
LAUNCHERS = {
    "basic": (),
    "joblib": ("hydra/launcher=joblib", "hydra.sweeper.workers=2"),
    "submitit_local": ("hydra/launcher=submitit_local", "hydra.sweeper.workers=2"),
}


def address(postgres) -> str:
    return postgres.url.replace("study@", f"study:{SECRET}@")


def leaks(folder) -> list[str]:
    """The files below that hold the password, pickles among them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_typed_password_is_in_no_file(postgres, launcher, tmp_path):
    """Records, overrides, logs and the launcher's pickles have a reference to it, and it works."""
    if launcher == "submitit_local":
        needs_package("hydra_plugins.hydra_submitit_launcher", "slurm")
    name = f"hydra.sweeper.study_name=typed_{launcher}"
    overrides = (f"hydra.sweeper.storage={address(postgres)}", name, *LAUNCHERS[launcher])
    done = sweep(tmp_path, *overrides)
    assert "6/6 trials" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert leaks(tmp_path) == []
    assert launcher != "submitit_local" or list(tmp_path.rglob("*.pkl"))
    hydra = next((tmp_path / "multirun").rglob("hydra.yaml")).read_text()
    assert "study:${oc.env:HYDRA_SWEEPER_STORAGE_PASSWORD}@127.0.0.1" in hydra
    assert "study:***@127.0.0.1" in done.stdout


def test_the_command_that_goes_on_has_stars_for_the_password(postgres, tmp_path):
    """After Ctrl-C it says what is to be filled in."""
    name = "hydra.sweeper.study_name=stopped"
    controller = start(tmp_path, f"hydra.sweeper.storage={address(postgres)}", name, "sleep=0.3")
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("account.txt")):
        assert time.monotonic() < deadline, (tmp_path / "output.txt").read_text()
        time.sleep(0.05)
    os.kill(controller.pid, signal.SIGINT)
    assert controller.wait(timeout=60) == 130
    said = (tmp_path / "output.txt").read_text()
    assert "hydra.sweeper.storage=postgresql+psycopg://study:***@127.0.0.1" in said
    assert said.endswith("(*** is a password, to be filled in)\n")
    assert leaks(tmp_path) == []


def test_an_address_may_come_from_the_environment(postgres, tmp_path):
    """The variable is named in what is kept; what it stands for is not."""
    typed = "hydra.sweeper.storage=${oc.env:STUDY_DB}"
    done = subprocess.run(
        command(typed, "hydra.sweeper.study_name=environment"),
        cwd=tmp_path,
        env=environment() | {"STUDY_DB": address(postgres)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert leaks(tmp_path) == []
    hydra = next((tmp_path / "multirun").rglob("hydra.yaml")).read_text()
    assert "storage: ${oc.env:STUDY_DB}" in hydra


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a=postgresql://me:p@ss@db:5432/x", "a=postgresql://me:***@db:5432/x"),
        ("a=http://me:p/s@h", "a=http://me:***@h"),
        ("a=[http://a:b@c,http://d:e@f]", "a=[http://a:***@c,http://d:***@f]"),
        ("a='postgresql://h/d?user=me&password=p'", "a='postgresql://h/d?user=me&password=***'"),
        ("a=http://me@h:5000/x", "a=http://me@h:5000/x"),
        ("a=http://me:${oc.env:P}@h", "a=http://me:${oc.env:P}@h"),
    ],
)
def test_the_password_of_an_address_is_found(text, shown, monkeypatch):
    """Up to its last @, in lists and queries; a reference is none."""
    monkeypatch.setattr(os, "environ", {})
    assert without_passwords(text) == shown
    hidden = hide_password(text)
    assert hidden == hide_password(hidden)
    for name, value in os.environ.items():
        hidden = hidden.replace(f"${{oc.env:{name}}}", value)
    assert hidden == text


def test_a_sampler_that_unpickles_is_refused_on_a_server(postgres, tmp_path):
    """CMA-ES keeps its state as a pickle in the database, which others may write to."""
    sampler = "hydra.sweeper.sampler={_target_: optuna.samplers.CmaEsSampler}"
    needs_package("cmaes", "samplers")
    done = sweep(tmp_path, f"hydra.sweeper.storage={postgres.url}", sampler, code=2)
    assert done.stderr.startswith("hydra.sweeper.sampler: CmaEsSampler unpickles")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
