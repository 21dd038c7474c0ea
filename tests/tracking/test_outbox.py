"""What a run's records survive: a kill, a dead store, a full disk."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from mnist_study.config import ConfigError
from mnist_study.tracking import open_tracker
from mnist_study.tracking.outbox import Outbox
from mnist_study.tracking.records import read_sent
from mnist_study.tracking.resend import main
from mnist_study.tracking.store import how_to_open
from mnist_study.tracking.upload import uploader
from tests import tracked
from tests.tracked import expected, files, history, python, track

# MLflow 3.17 uses an option that SQLAlchemy 2.1 will remove.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


def test_a_second_run_in_a_folder_sets_the_first_one_aside(uri, tmp_path):
    """Records of two runs are never mixed."""
    ids = [track(uri, tmp_path, seen=[]) for _ in range(2)]
    kept = [read_sent(tmp_path / name)[uri]["run_id"] for name in ("tracking.1", "tracking")]
    assert kept == ids


def test_sending_twice_changes_nothing(uri, tmp_path, capsys):
    """A portion that arrived just before a crash is sent again, and is there once."""
    run_id = track(uri, tmp_path, depth=2)
    client = MlflowClient(uri)
    before = history(client, run_id), files(client, run_id), files(client, run_id, "images")
    state = tmp_path / "tracking" / "sent.json"
    state.write_text(json.dumps({uri: {"run_id": run_id, "sent": 0}}))
    assert main(["send", str(tmp_path)]) == 0
    assert (
        history(client, run_id),
        files(client, run_id),
        files(client, run_id, "images"),
    ) == before
    state.unlink()  # killed while creating the run
    assert main(["send", str(tmp_path)]) == 0
    assert read_sent(state.parent)[uri]["run_id"] == run_id
    assert main(["send", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"0 records sent, run {run_id}")


def test_a_run_without_a_store_is_kept_and_sent_later(tmp_path, monkeypatch, caplog):
    """With no server at all training goes on, one line says how to send, and sending completes."""
    monkeypatch.setattr(uploader, "TIMEOUT", 0.5)
    monkeypatch.setattr(uploader, "RETRY", 0.1)
    dead = tracked.settings("http://127.0.0.1:9")
    with open_tracker(dead, tracked.record(tmp_path)) as tracker:
        assert len(list(tracker.follow(tracked.events()))) == 11
    assert tracker.run_id is None
    assert "mlflow ui" in how_to_open("sqlite:////x/mlflow.db", None, None)
    last = caplog.messages[-1]
    assert last.endswith(f"send it later with: python -m mnist_study.tracking send {tmp_path}")
    assert "\n" not in last

    uri = f"sqlite:///{tmp_path}/later.db"
    assert main(["send", str(tmp_path), uri]) == 0
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    assert run.info.status == "FINISHED"
    assert history(client, run.info.run_id) == expected(tracked.events())


def test_a_dead_process_is_told_from_a_living_one(uri, tmp_path, capsys):
    """Records of a living process are refused; those of a dead one end as KILLED."""
    outbox = Outbox.create(tmp_path, {"uri": uri}, uri)
    assert main(["send", str(tmp_path)]) == 1
    assert "still running" in capsys.readouterr().err
    outbox.close()
    killed = tmp_path / "killed"
    code = (
        "import os, pathlib\nfrom tests import tracked\n"
        "from mnist_study.tracking import open_tracker\n"
        f"record = tracked.record(pathlib.Path({str(killed)!r}))\n"
        f"with open_tracker(tracked.settings({uri!r}), record) as tracker:\n"
        "    for event in tracker.follow(tracked.events()):\n"
        "        if event.step == 25: os._exit(9)\n"
    )
    assert python(code).wait() == 9
    with (killed / "tracking" / "records.jsonl").open("ab") as file:
        file.write(b'{"metrics": {"train/lo')  # torn
    assert main(["send", str(killed)]) == 0
    run_id = read_sent(killed / "tracking")[uri]["run_id"]
    client = MlflowClient(uri)
    assert client.get_run(run_id).info.status == "KILLED"
    assert max(step for step, _ in history(client, run_id)["train/loss"]) == 25


def test_a_full_disk_costs_neither_the_training_nor_the_points(uri, tmp_path):
    """Records that the disk refuses are still sent, and written once there is room again."""
    tracker = open_tracker(tracked.settings(uri), tracked.record(tmp_path))
    outbox = tracker._recorder.outbox
    real = outbox._file

    class Full:
        def write(self, data: bytes) -> int:
            real.write(data[:7])
            raise OSError(28, "No space left on device")

        def __getattr__(self, name: str):
            return getattr(real, name)

    with tracker:
        for event in tracker.follow(tracked.events()):
            outbox._file = Full() if 10 <= event.step < 30 else real
    assert history(MlflowClient(uri), tracker.run_id) == expected(tracked.events())
    lines = (tmp_path / "tracking" / "records.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == outbox._records


@pytest.mark.parametrize("words", [[], ["send"], ["give", "x"], ["send", "a", "b", "c"]])
def test_other_words_get_the_usage(words, capsys):
    """A wrong command costs one line and exit code 2."""
    assert main(words) == 2
    assert capsys.readouterr().err == "usage: python -m mnist_study.tracking send FOLDER [URI]\n"


def test_the_send_command_is_a_command(tmp_path):
    """`python -m mnist_study.tracking send FOLDER` says what it did; here that there is nothing."""
    words = ["-W", "error", "-m", "mnist_study.tracking", "send", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    expected = f"FOLDER must hold the records of a run, {tmp_path} has none\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_a_folder_that_is_not_of_records_is_left_alone(tmp_path):
    """A user's own folder `tracking` in the run's folder is neither moved nor written to."""
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking" / "parcels.csv").write_text("mine")
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir must be a folder whose `tracking` is"):
        Outbox.create(tmp_path, {"uri": "sqlite:///a.db"}, "sqlite:///a.db")
    assert [path.name for path in tmp_path.rglob("*")] == ["tracking", "parcels.csv"]
