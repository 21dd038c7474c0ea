"""Tracking on SQLite, with the real MLflow: what a run leaves, and what it survives."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from mlflow import MlflowClient

from mnist_study.config import ConfigError
from mnist_study.nn.training import EpochEnded, Finished, Measured
from mnist_study.tracking import uploader as courier
from mnist_study.tracking.client import metric_key, open_tracker
from mnist_study.tracking.figures import PALETTE, WEIGHT_LIMIT, weight_images
from mnist_study.tracking.outbox import Spool
from mnist_study.tracking.recorder import metrics_of
from mnist_study.tracking.resend import main
from mnist_study.tracking.store import check_store, how_to_open, store_uri
from tests import tracked

# MLflow 3.17 uses an option that SQLAlchemy 2.1 will remove.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """One database for this file; its folder's name has a space."""
    return f"sqlite:///{tmp_path_factory.mktemp('a store')}/mlflow.db"


def track(uri: str, folder: Path, *, events=None, settings=None, **record) -> str:
    """Track a made-up run to its end; the run's id."""
    with open_tracker(
        settings or tracked.settings(uri), tracked.record(folder, **record)
    ) as tracker:
        for _ in tracker.follow(tracked.events() if events is None else events):
            pass
    assert tracker.run_id
    return tracker.run_id


@pytest.fixture(scope="module")
def finished(uri, tmp_path_factory):
    """A run that went well: its client, the run and its folder."""
    folder = tmp_path_factory.mktemp("finished")
    run_id = track(uri, folder)
    client = MlflowClient(uri)
    return client, client.get_run(run_id), folder


def history(client: MlflowClient, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """All points of all metrics, in the order of their steps."""
    keys = client.get_run(run_id).data.metrics
    points = {key: client.get_metric_history(run_id, key) for key in keys}
    return {key: sorted((p.step, p.value) for p in many) for key, many in points.items()}


def expected(events) -> dict[str, list[tuple[int, float]]]:
    """The same, from the events themselves."""
    points: dict[str, list[tuple[int, float]]] = {}
    for event in events:
        step = 0 if isinstance(event, Finished) else event.step
        for key, value in metrics_of(event, curves_per_epoch=False).items():
            points.setdefault(key, []).append((step, value))
    return points


def files(client: MlflowClient, run_id: str, folder: str = "") -> list[str]:
    """Names of a run's files in an artifact folder."""
    listed = client.list_artifacts(run_id, folder or None)
    return sorted(Path(file.path).name for file in listed if not file.is_dir)


def test_a_runs_metrics_are_its_events_exactly(finished):
    """Every number of every event is one point at its step, under the documented keys."""
    client, run, _ = finished
    points = history(client, run.info.run_id)
    assert points == expected(tracked.events())
    finals = {
        f"final/{s}_{q}" for s in ("train", "validation", "test") for q in ("loss", "accuracy")
    }
    curves = {f"{s}/{q}" for s in ("train", "validation") for q in ("loss", "accuracy")}
    means = {f"{key}_epoch" for key in curves}
    assert set(points) == finals | curves | means | {
        "lr",
        "time/train_seconds",
        "images_per_second",
    }


def test_single_figures_are_at_step_zero(finished):
    """Final values lie at step 0, where MLflow draws them as bars."""
    client, run, _ = finished
    points = history(client, run.info.run_id)
    singles = {key for key, many in points.items() if [step for step, _ in many] == [0]}
    assert singles == {k for k in points if k.startswith(("final/", "time/", "images_per"))}


def test_epoch_means_are_the_curves_when_nothing_is_finer():
    """With `eval_every=epoch` an epoch's scores are train/loss and so on, with the rate."""
    event = EpochEnded(20, 1, 0.01, tracked.scores(20, "train"))
    assert set(metrics_of(event, curves_per_epoch=True)) == {"train/loss", "train/accuracy", "lr"}


def test_a_runs_params_tags_and_status_say_what_it_was(finished):
    """Params are the flat configuration with log10_lr; tags and status say how it ended."""
    _, run, folder = finished
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "30-10 sgd 0.01"
    assert run.data.params["optimizer.lr"] == "0.01"
    assert run.data.params["log10_lr"] == "-2"
    assert run.data.params["model.hidden"] == "null"
    assert run.data.params["model.layers_0_"] == "x"  # MLflow refuses brackets
    assert run.data.tags["state"] == "complete"
    assert run.data.tags["hydra.output_dir"] == str(folder)
    assert f"full at {WEIGHT_LIMIT:g}" in run.data.tags["weights.scale"]
    note = run.data.tags["mlflow.note.content"]
    assert "6 x 5 images of 10 classes: 8 train, 4 validation, 2 test" in note
    assert "test **83.33%** (loss 0.5200)" in note


def test_the_dataset_carries_our_own_digest(finished):
    """The dataset is an input of the run, told apart by all of its bytes."""
    _, run, _ = finished
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("toy", "d" * 32)
    assert json.loads(given.dataset.profile)["validation images"] == 4


def test_the_compare_page_finds_its_files_at_the_root(finished):
    """Root artifacts have the documented names, and the weights are no pickle."""
    client, run, folder = finished
    names = ["accuracy.png", "config.yaml", "loss.png", "weights.npz", "weights.png"]
    assert files(client, run.info.run_id) == names
    with np.load(folder / "tracking" / "weights.npz", allow_pickle=False) as arrays:
        assert {k: a.shape for k, a in arrays.items()} == {"W1": (30, 10), "b1": (10,)}
        expected = tracked.record(folder / "again").network.weights[0][::-1]  # of the toys' pixels
        np.testing.assert_array_equal(arrays["W1"], expected)


def test_images_are_logged_by_key_and_step(finished):
    """A sheet at steps 0, first epoch and last, and final images of each class, in both files."""
    client, run, _ = finished
    stems = [name.split("+timestamp")[0] for name in files(client, run.info.run_id, "images")]
    sheets = [f"weights~sheet+step+{step}" for step in (0, 20, 40)]
    final = [
        f"weights~final~{name}+step+0" for name in ["sheet", *(f"class_{c}" for c in range(10))]
    ]
    assert sorted(stems) == sorted(2 * (sheets + final))


def test_weights_are_drawn_where_their_pixels_are(finished):
    """The toys' images keep their pixels last one first; a class's picture has them as one sees."""
    client, run, folder = finished
    names = files(client, run.info.run_id, "images")
    (name,) = (name for name in names if "class_3" in name and name.endswith(".png"))
    drawn = iio.imread(client.download_artifacts(run.info.run_id, f"images/{name}"))
    weights = tracked.record(folder / "again").network.weights[0][::-1]
    expected = PALETTE[weight_images(weights, tracked.SHAPE)[3]]
    np.testing.assert_array_equal(drawn, expected)
    assert run.data.tags["mlflow.loggedImages"] == "True"


def test_hidden_units_are_shown_as_receptive_fields(uri, tmp_path):
    """A network of depth 2 shows its first layer's units, ten of them one by one."""
    run_id = track(uri, tmp_path, depth=2)
    stems = {name.split("+")[0] for name in files(MlflowClient(uri), run_id, "images")}
    units = {f"weights~final~unit_{unit}" for unit in range(10)}
    assert stems == {"weights~sheet", "weights~final~sheet"} | units


class TrialPruned(Exception):  # noqa: N818 - the name is Optuna's
    """Stands for Optuna's exception, which tracking knows by its name."""


@pytest.mark.parametrize(
    ("error", "status", "tags"),
    [
        (KeyboardInterrupt(), "KILLED", {"state": "interrupted"}),
        (SystemExit(3), "KILLED", {"state": "interrupted"}),
        (TrialPruned("epoch 1: 0.3"), "KILLED", {"state": "pruned", "reason": "epoch 1: 0.3"}),
        (OverflowError("loss is inf"), "FAILED", {"failure": "OverflowError: loss is inf"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_run_that_breaks_off_keeps_what_it_had(uri, tmp_path, error, status, tags):
    """Interrupted, pruned and failed runs say so, with every point and file so far."""

    def broken():
        yield from list(tracked.events())[:3]
        raise error

    tracker = open_tracker(tracked.settings(uri), tracked.record(tmp_path))
    with pytest.raises(type(error)), tracker:
        for _ in tracker.follow(broken()):
            pass
    client = MlflowClient(uri)
    run = client.get_run(tracker.run_id)
    assert run.info.status == status
    assert run.data.tags.items() >= tags.items()
    assert history(client, tracker.run_id) == expected(list(tracked.events())[:3])
    assert "loss.png" in files(client, tracker.run_id)


def test_a_job_may_end_the_run_itself(uri, tmp_path):
    """`end` says the status and the reason; leaving the block adds nothing."""
    with open_tracker(tracked.settings(uri), tracked.record(tmp_path)) as tracker:
        tracker.end("KILLED", "enough")
    run = MlflowClient(uri).get_run(tracker.run_id)
    assert (run.info.status, run.data.tags["reason"]) == ("KILLED", "enough")


def test_a_run_may_end_before_its_last_records_have_arrived(uri, tmp_path, monkeypatch):
    """Whoever takes over to wait has the run whole afterwards; on disk it is whole at once."""
    slow, left = threading.Event(), []
    monkeypatch.setattr("mnist_study.tracking.client._metrics", lambda _: slow.wait(30) and [])
    with open_tracker(tracked.settings(uri), tracked.record(tmp_path), left.append) as tracker:
        list(tracker.follow(tracked.events()))
    assert tracker._recorder.spool.complete
    assert tracker._recorder.spool.waiting
    slow.set()
    (wait,) = left
    wait()
    assert not tracker._recorder.spool.waiting
    assert MlflowClient(uri).get_run(tracker.run_id).info.status == "FINISHED"


def test_a_failed_run_has_arrived_when_it_ends(uri, tmp_path):
    """A study gives a failed trial without a run another one, so it must have its own by then."""
    left = []
    tracker = open_tracker(tracked.settings(uri), tracked.record(tmp_path), left.append)
    with pytest.raises(OverflowError), tracker:
        raise OverflowError
    assert left == []
    assert MlflowClient(uri).get_run(tracker.run_id).info.status == "FAILED"


def test_infinite_and_undefined_numbers_are_left_out(uri, tmp_path):
    """MLflow would draw an infinity as 1.8e308; such points are not sent, the others are."""
    scores = tracked.scores(5, "train") | {"validation": tracked.Score(float("inf"), float("nan"))}
    run_id = track(uri, tmp_path, events=[Measured(5, 1, 0.01, scores)])
    assert set(MlflowClient(uri).get_run(run_id).data.metrics) == {
        "train/loss",
        "train/accuracy",
        "lr",
    }


def test_a_password_reaches_neither_params_nor_files(uri, tmp_path):
    """The password of an address in the configuration is blanked everywhere."""
    address = "postgresql://me:secret@host/db"
    run_id = track(uri, tmp_path, params={"storage": address}, config_yaml=f"storage: {address}\n")
    assert MlflowClient(uri).get_run(run_id).data.params["storage"] == "postgresql://me:***@host/db"
    assert all(b"secret" not in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


def test_a_second_run_in_a_folder_sets_the_first_one_aside(uri, tmp_path):
    """Records of two runs are never mixed."""
    ids = [track(uri, tmp_path, events=[]) for _ in range(2)]
    kept = [
        json.loads((tmp_path / name / "sent.json").read_text())
        for name in ("tracking.1", "tracking")
    ]
    assert [state["run_id"] for state in kept] == ids


def test_sending_twice_changes_nothing(uri, tmp_path, capsys):
    """A portion that arrived just before a crash is sent again, and is there once."""
    run_id = track(uri, tmp_path, depth=2)
    client = MlflowClient(uri)
    before = history(client, run_id), files(client, run_id), files(client, run_id, "images")
    state = tmp_path / "tracking" / "sent.json"
    state.write_text(json.dumps({"run_id": run_id, "sent": 0}))
    assert main(["send", str(tmp_path)]) == 0
    assert (
        history(client, run_id),
        files(client, run_id),
        files(client, run_id, "images"),
    ) == before
    state.write_text(json.dumps({"run_id": None, "sent": 0}))  # killed while creating the run
    assert main(["send", str(tmp_path)]) == 0
    assert json.loads(state.read_text())["run_id"] == run_id
    assert main(["send", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"0 records sent, run {run_id}")


def test_a_run_without_a_store_is_kept_and_sent_later(tmp_path, monkeypatch, caplog):
    """With no server at all training goes on, one line says how to send, and sending completes."""
    monkeypatch.setattr(courier, "PATIENCE", 0.5)
    dead = tracked.settings("http://127.0.0.1:9")
    with open_tracker(dead, tracked.record(tmp_path)) as tracker:
        assert len(list(tracker.follow(tracked.events()))) == 11
    assert tracker.run_id is None
    assert "mlflow ui" in how_to_open("sqlite:////x/mlflow.db", None, None)
    last = caplog.messages[-1]
    assert last.endswith(f"send it later with: python -m mnist_study.tracking send {tmp_path}")
    assert "\n" not in last

    tracker._courier.join(30)  # a process that has ended holds no records; this one lives on
    uri = f"sqlite:///{tmp_path}/later.db"
    assert main(["send", str(tmp_path), uri]) == 0
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    assert run.info.status == "FINISHED"
    assert history(client, run.info.run_id) == expected(tracked.events())


def test_a_dead_process_is_told_from_a_living_one(uri, tmp_path, capsys):
    """Records of a living process are refused; those of a dead one end as KILLED."""
    spool = Spool.create(tmp_path, {})
    assert main(["send", str(tmp_path)]) == 1
    assert "still running" in capsys.readouterr().err
    spool.close()
    killed = tmp_path / "killed"
    code = (
        "import os, pathlib\nfrom tests import tracked\n"
        "from mnist_study.tracking.client import open_tracker\n"
        f"record = tracked.record(pathlib.Path({str(killed)!r}))\n"
        f"with open_tracker(tracked.settings({uri!r}), record) as tracker:\n"
        "    for event in tracker.follow(tracked.events()):\n"
        "        if event.step == 25: os._exit(9)\n"
    )
    assert python(code).wait() == 9
    with (killed / "tracking" / "records.jsonl").open("ab") as file:
        file.write(b'{"metrics": {"train/lo')  # torn
    assert main(["send", str(killed)]) == 0
    run_id = json.loads((killed / "tracking" / "sent.json").read_text())["run_id"]
    client = MlflowClient(uri)
    assert client.get_run(run_id).info.status == "KILLED"
    assert max(step for step, _ in history(client, run_id)["train/loss"]) == 25


def test_a_full_disk_costs_neither_the_training_nor_the_points(uri, tmp_path):
    """Records that the disk refuses are still sent, and written once there is room again."""
    tracker = open_tracker(tracked.settings(uri), tracked.record(tmp_path))
    spool = tracker._recorder.spool
    real = spool._file

    class Full:
        def write(self, data: bytes) -> int:
            real.write(data[:7])
            raise OSError(28, "No space left on device")

        def __getattr__(self, name: str):
            return getattr(real, name)

    with tracker:
        for event in tracker.follow(tracked.events()):
            spool._file = Full() if 10 <= event.step < 30 else real
    assert history(MlflowClient(uri), tracker.run_id) == expected(tracked.events())
    lines = (tmp_path / "tracking" / "records.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == spool._records


def test_two_processes_may_create_the_store_at_once(tmp_path):
    """Database and experiment are created once, and both runs are in that experiment."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    codes = [
        "import pathlib\nfrom tests import tracked\n"
        "from mnist_study.tracking.client import open_tracker\n"
        f"record = tracked.record(pathlib.Path({str(tmp_path / name)!r}))\n"
        f"with open_tracker(tracked.settings({uri!r}), record) as tracker:\n"
        "    list(tracker.follow(tracked.events()))\n"
        for name in "ab"
    ]
    assert [p.wait() for p in [python(code) for code in codes]] == [0, 0]
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]


def test_the_default_store_is_where_mlflow_ui_looks(tmp_path, monkeypatch):
    """mlflow.db and mlruns lie in the working directory; the address in use is absolute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with open_tracker(tracked.settings(None), tracked.record(tmp_path / "run")) as tracker:
        list(tracker.follow([]))
    assert {"mlflow.db", "mlruns"} <= {path.name for path in tmp_path.iterdir()}
    assert store_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracker.hint().startswith("mlflow ui ")
    page = f"/#/experiments/1/runs/{tracker.run_id}?workflowType=machine_learning"
    assert tracker.hint().endswith(page)


def test_the_environment_names_a_store_where_the_configuration_does_not(monkeypatch):
    """tracking.uri goes before MLFLOW_TRACKING_URI, which goes before the default."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert store_uri(None) == "http://127.0.0.1:5000"
    assert store_uri("sqlite:////a/b.db") == "sqlite:////a/b.db"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("mlruns", "got mlruns"),
        ("file:///tmp/mlruns", "MLflow takes no folders any more"),
        ("postgresql:x", "got postgresql:x"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:////no/such/place/x.db", "no folder /no/such/place"),
        ("sqlite:////tmp", "a folder"),
        (f"sqlite:///{__file__}", "another kind of file"),
        ("http://", "got http://"),
        ("http://me:secret@host:port", "got http://me:***@host:port"),
    ],
)
def test_a_store_that_can_never_work_is_refused_before_training(tmp_path, uri, words):
    """One sentence names the key, the rule and the fact; nothing is written."""
    with pytest.raises(ConfigError, match=r"^tracking\.uri must") as refused:
        open_tracker(tracked.settings(uri), tracked.record(tmp_path))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_looking_at_a_store_leaves_the_locks_on_it(tmp_path):
    """While a thread writes, the next run of its process begins; no other process may write then.

    POSIX takes away all locks that a process has on a file when it closes the file anywhere.
    """
    path = tmp_path / "a store.db"
    code = "import sqlite3, sys\nsqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    other = [sys.executable, "-W", "error", "-c", code, str(path)]
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE runs (id)")
        writer.execute("BEGIN EXCLUSIVE")
        check_store(f"sqlite:///{path}")
        refused = subprocess.run(other, capture_output=True, text=True, check=False)
        assert "database is locked" in refused.stderr
        writer.execute("COMMIT")
    assert subprocess.run(other, check=False).returncode == 0


def test_a_store_without_permission_is_refused(tmp_path, monkeypatch):
    """The place that cannot be written is named."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=f"no permission to write {tmp_path}"):
        check_store(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.parametrize(
    ("key", "clean"),
    [("a/b c-d.e_f", "a/b c-d.e_f"), ("+x=1", "_x_1"), ("/a//b/", "a/b"), ("[]", "__"), ("/", "_")],
)
def test_keys_are_made_acceptable(key, clean):
    """Whatever a Hydra override may be called, MLflow takes the key."""
    assert metric_key(key) == clean


def test_no_tracking_imports_and_writes_nothing(tmp_path):
    """`tracking=none` knows neither MLflow nor matplotlib nor Pillow, and leaves no file."""
    code = (
        "import pathlib, sys\nfrom tests import tracked\n"
        "from mnist_study.tracking.client import open_tracker\n"
        f"record = tracked.record(pathlib.Path({str(tmp_path)!r}))\n"
        "with open_tracker(tracked.settings(None, backend='none'), record) as tracker:\n"
        "    list(tracker.follow(tracked.events()))\n"
        "assert not {'mlflow', 'matplotlib', 'PIL', 'optuna'} & set(sys.modules)\n"
    )
    assert python(code).wait() == 0
    assert list(tmp_path.iterdir()) == []


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


def python(code: str) -> subprocess.Popen[bytes]:
    """Start a Python that finds this package and these tests."""
    paths = {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | paths)
