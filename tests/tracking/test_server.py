"""Tracking to a real MLflow server that comes, goes and comes back."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import optuna
import pytest
from mlflow import MlflowClient
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from mnist_study.study.agreement import reconcile, trial_tags
from mnist_study.study.runs import StudyRuns
from mnist_study.tracking import open_tracker
from mnist_study.tracking.client import children, ensure_experiment, log_to_run, set_run_status
from mnist_study.tracking.upload import uploader
from tests import tracked
from tests.tracked import expected, files, history, track

if TYPE_CHECKING:
    from tests.mlflow_server import Server

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


def test_everything_arrives_on_a_server(server: Server, tmp_path):
    """A server gets the same points, files and images as a database."""
    run_id = track(server.uri, tmp_path)
    client = MlflowClient(server.uri)
    assert client.get_run(run_id).info.status == "FINISHED"
    assert history(client, run_id) == expected(tracked.events())
    names = ["accuracy.png", "config.yaml", "loss.png", "weights.npz", "weights.png"]
    assert files(client, run_id) == names
    assert len(files(client, run_id, "images")) == 2 * (3 + 11)


def test_a_run_can_be_watched_while_it_goes(server: Server, tmp_path, monkeypatch):
    """Points are there before the run has ended, and it is RUNNING."""
    monkeypatch.setattr(uploader, "INTERVAL", 0.1)
    client = MlflowClient(server.uri)
    seen = []
    with open_tracker(tracked.settings(server.uri), tracked.record(tmp_path)) as tracker:
        for event in tracker.follow(tracked.events(40, pause=0.05)):
            if event.step == 150 and tracker.run_id:
                run = client.get_run(tracker.run_id)
                seen.append((run.info.status, run.data.metrics["train/loss"] < 2))
    assert seen[0] == ("RUNNING", True)


def test_the_run_is_named_before_the_training_is_over(server: Server, tmp_path):
    """The hint leads to the run's own page."""
    with open_tracker(tracked.settings(server.uri), tracked.record(tmp_path)) as tracker:
        list(tracker.follow(tracked.events()))
    experiment = ensure_experiment(tracked.settings(server.uri))
    page = f"/#/experiments/{experiment}/runs/{tracker.run_id}?workflowType=machine_learning"
    assert tracker.hint() == f"open {server.uri}{page}"


def test_a_killed_server_loses_and_doubles_nothing(server: Server, tmp_path, monkeypatch):
    """The server is killed and started again in the middle of a run: all points, each once."""
    monkeypatch.setattr(uploader, "INTERVAL", 0.1)
    monkeypatch.setattr(uploader, "RETRY", 0.3)
    restart = threading.Thread(target=server.start)
    with open_tracker(tracked.settings(server.uri), tracked.record(tmp_path)) as tracker:
        for event in tracker.follow(tracked.events(400, every=1, pause=0.02)):
            if event.step == 61:
                server.kill()
                restart.start()
        restart.join()
    client = MlflowClient(server.uri)
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert history(client, tracker.run_id) == expected(tracked.events(400, every=1))
    found = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    assert len([run for run in found if run.data.tags["hydra.output_dir"] == str(tmp_path)]) == 1


def test_a_hanging_server_does_not_hold_up_the_training(server: Server, tmp_path, monkeypatch):
    """Events pass at their own speed while the store hangs; the end waits a bounded time."""
    monkeypatch.setattr(uploader, "SLOW_TIMEOUT", 0.5)
    monkeypatch.setattr("mnist_study.tracking.upload.sending.create_run", lambda *_: time.sleep(3))
    started = time.perf_counter()
    with open_tracker(tracked.settings(server.uri), tracked.record(tmp_path)) as tracker:
        list(tracker.follow(tracked.events()))
        assert time.perf_counter() - started < 0.5
    assert time.perf_counter() - started < 2.5
    assert tracker.run_id is None


def test_two_clients_may_create_an_experiment_at_once(server: Server):
    """Whoever comes second gets the same experiment."""
    settings = tracked.settings(server.uri, experiment="both")
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.append(ensure_experiment(settings))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1
    assert len(ids) == 4


def test_a_deleted_experiment_comes_back(server: Server):
    """A run is filed under the name that was asked for, even if that was deleted in the UI."""
    client = MlflowClient(server.uri)
    client.delete_experiment(client.create_experiment("deleted"))
    found = ensure_experiment(tracked.settings(server.uri, experiment="deleted"))
    assert client.get_experiment(found).lifecycle_stage == "active"


def test_a_studys_children_agree_with_its_trials(server: Server, tmp_path):
    """After a kill every child has its trial's status and reason; a running trial's is left."""
    settings = tracked.settings(server.uri, experiment="studies")
    study = optuna.create_study(study_name="my study")
    study.add_trial(create_trial(value=1.0))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"failure": "killed"}))
    study.add_trial(create_trial(state=TrialState.PRUNED))
    study.add_trial(create_trial(state=TrialState.RUNNING))  # on another machine
    studies = StudyRuns(settings)
    studies.open(study)
    parent = studies.runs["my study"]
    client = MlflowClient(server.uri)
    runs = {}
    parents = [parent, parent, None, parent, parent]  # one began without
    for number, above in enumerate(parents):
        given = {"tags": trial_tags(study, number), "parent_run_id": above}
        folder = tmp_path / str(number)
        runs[number] = track(server.uri, folder, section=settings, seen=[], **given)
    for number in (1, 2, 3, 4):
        client.update_run(runs[number], status="RUNNING")  # as a killed worker leaves it
    reconcile(settings, study, parent)
    ended = {number: client.get_run(run_id) for number, run_id in runs.items()}
    expected = ["FINISHED", "FAILED", "KILLED", "RUNNING", "FAILED"]
    assert [run.info.status for run in ended.values()] == expected
    lost = ended.pop(4).data.tags  # it belongs to no trial
    assert lost["failure"] == "its study has lost this trial"
    assert not {"mlflow.parentRunId", "optuna.trial_number"} & lost.keys()
    assert {run.data.tags["mlflow.parentRunId"] for run in ended.values()} == {parent}
    assert ended[1].data.tags["failure"] == "killed"
    assert ended[2].data.tags.items() >= {"state": "pruned", "reason": "pruned"}.items()
    reconcile(settings, study, parent)
    for number, run in ended.items():  # nothing is corrected twice
        assert client.get_run(runs[number]).info.end_time == run.info.end_time


def test_a_trial_has_one_run(server: Server, tmp_path):
    """Of two runs of a number, which a cut journal gave away twice, the newer is the trial's.

    A finished trial that has none gets one with its parameters and its value.
    """
    settings = tracked.settings(server.uri, experiment="cut")
    study = optuna.create_study(study_name="cut")
    study.set_user_attr("identity", {"metric": ["validation/accuracy"]})
    x = {"x": FloatDistribution(0, 1)}
    for value in (0.5, 0.25):
        study.add_trial(create_trial(value=value, params={"x": value}, distributions=x))
    studies = StudyRuns(settings)
    studies.open(study)
    given = {"tags": trial_tags(study, 0), "parent_run_id": studies.runs["cut"]}
    old, new = (
        track(server.uri, tmp_path / name, section=settings, seen=[], **given)
        for name in ("old", "new")
    )
    reconcile(settings, study, studies.runs["cut"])
    below = {
        run.data.tags["optuna.trial_number"]: run for run in children(settings, studies.runs["cut"])
    }
    assert below["0"].info.run_id == new
    assert "optuna.trial_number" not in MlflowClient(server.uri).get_run(old).data.tags
    assert (below["1"].info.status, below["1"].data.params) == ("FINISHED", {"x": "0.25"})
    assert below["1"].data.metrics == {"final/validation_accuracy": 0.25}


def test_a_study_has_one_parent_run(server: Server):
    """The parent is found by its study's name, runs again, and takes figures and files."""
    settings = tracked.settings(server.uri, experiment="studies")
    first = StudyRuns(settings).create_parent("resumed", {"a": "1"})
    set_run_status(settings, first, "FINISHED")
    assert StudyRuns(settings).create_parent("resumed", {"a": "2"}) == first
    assert StudyRuns(settings).create_parent("another", {}) != first
    bad = {"best": 0.98, "worst": float("inf")}
    client = MlflowClient(server.uri)
    log_to_run(client, first, metrics=bad, params={"n": 3}, files={"REPORT.md": b"# Report"})
    run = client.get_run(first)
    assert (run.info.status, run.data.tags["a"], run.data.params) == ("RUNNING", "2", {"n": "3"})
    assert run.data.metrics == {"best": 0.98}
    assert files(client, first) == ["REPORT.md"]
