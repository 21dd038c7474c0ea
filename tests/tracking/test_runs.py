"""What a tracked run leaves in MLflow, on SQLite with the real MLflow."""

from __future__ import annotations

import json
import threading

import imageio.v3 as iio
import numpy as np
import pytest
from mlflow import MlflowClient

from mnist_study.nn.training import EpochEnded, Measured
from mnist_study.tracking import open_tracker
from mnist_study.tracking.client import metric_key
from mnist_study.tracking.images import PALETTE, WEIGHT_LIMIT, weight_images
from mnist_study.tracking.recorder import metrics_of
from tests import tracked
from tests.tracked import expected, files, history, python, track

# MLflow 3.17 uses an option that SQLAlchemy 2.1 will remove.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.fixture(scope="module")
def finished(uri, tmp_path_factory):
    """A run that went well: its client, the run and its folder."""
    folder = tmp_path_factory.mktemp("finished")
    run_id = track(uri, folder)
    client = MlflowClient(uri)
    return client, client.get_run(run_id), folder


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
    """The dataset is an input of the run, identified by a digest of all its bytes."""
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
        expected = tracked.record(folder / "again").network.weights[0]
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
    """A class's picture has each weight at its pixel, row by row."""
    client, run, folder = finished
    names = files(client, run.info.run_id, "images")
    (name,) = (name for name in names if "class_3" in name and name.endswith(".png"))
    drawn = iio.imread(client.download_artifacts(run.info.run_id, f"images/{name}"))
    weights = tracked.record(folder / "again").network.weights[0]
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
    monkeypatch.setattr("mnist_study.tracking.upload.sending.log_points", lambda *_: slow.wait(30))
    with open_tracker(tracked.settings(uri), tracked.record(tmp_path), left.append) as tracker:
        list(tracker.follow(tracked.events()))
    assert tracker._recorder.outbox.complete
    assert tracker._recorder.outbox.waiting
    slow.set()
    (wait,) = left
    wait()
    assert not tracker._recorder.outbox.waiting
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
    run_id = track(uri, tmp_path, seen=[Measured(5, 1, 0.01, scores)])
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
        "from mnist_study.tracking import open_tracker\n"
        f"record = tracked.record(pathlib.Path({str(tmp_path)!r}))\n"
        "with open_tracker(tracked.settings(None, backend='none'), record) as tracker:\n"
        "    list(tracker.follow(tracked.events()))\n"
        "assert not {'mlflow', 'matplotlib', 'PIL', 'optuna'} & set(sys.modules)\n"
    )
    assert python(code).wait() == 0
    assert list(tmp_path.iterdir()) == []
