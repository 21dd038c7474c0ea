"""What a run says of a store that does not answer is true, and is said at once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from mnist_study.tracking.client import connect, experiment_id
from tests.command import mnist_study

SHORT = ["model=softmax", "training.batch_size=1000"]


@pytest.fixture
def silent():
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        taken = []
        threading.Thread(target=_take, args=(server, taken), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _take(server, taken):
    while True:
        try:
            taken.append(server.accept())
        except OSError:
            return


def test_the_last_line_does_not_send_one_to_a_server_that_has_nothing(tmp_path):
    """Of a server that refuses connections it says where the run is, and not "open" it."""
    done = mnist_study(
        *SHORT, "training.epochs=1", "tracking.uri=http://127.0.0.1:9", folder=tmp_path
    )
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"the run is in {tmp_path}/outputs/")
    assert last.endswith("and not all of it is in MLflow")
    assert "does not answer" in done.stdout


def test_a_signal_is_answered_at_once_and_obeyed_at_once_the_second_time(silent, tmp_path):
    """SIGTERM says what is waited for within seconds; the same again ends the process."""
    words = [*SHORT, "training.epochs=3000", f"tracking.uri={silent}"]
    with subprocess.Popen(
        [sys.executable, "-m", "mnist_study", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout.readline().startswith("epoch ")
        began = time.monotonic()
        run.send_signal(signal.SIGTERM)
        for line in run.stderr:
            if "stopping; what the run has recorded is written and sent first" in line:
                break
        assert time.monotonic() - began < 3
        run.send_signal(signal.SIGTERM)
        assert run.wait(3) == -signal.SIGTERM
    (records,) = tmp_path.rglob("records.jsonl")
    assert str(records.parent.parent) in line


def test_an_experiment_of_any_name_stays_in_its_folder(tmp_path):
    """A slash or dots in its name make no folder beside `mlruns`."""
    for name, folder in {"a/b": "a_b", "...": "_", "/x": "_x"}.items():
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        found = connect(uri).get_experiment(experiment_id(uri, name))
        assert found.artifact_location == str(tmp_path / "mlruns" / folder)
