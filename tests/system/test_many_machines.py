"""Several machines: one PostgreSQL, one MLflow server, and the same command in several folders."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from mnist_study.study.agreement import STUDY_ID
from mnist_study.study.runs import StudyRuns
from tests import tracked
from tests.studied import STATUS, runs_at, search, start, trials_at, trials_in

if TYPE_CHECKING:
    from tests.mlflow_server import Server

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


def shared(postgres, server: Server, name: str) -> list[str]:
    return [
        f"hydra.sweeper.storage={postgres.url}",
        f"hydra.sweeper.study_name={name}",
        f"tracking.uri={server.uri}",
        f"tracking.experiment={name}",
        "engine=local",
    ]


def test_two_folders_join_one_tracked_study(postgres, server: Server, tmp_path):
    """Started at the same moment: an exact total, both at work, one parent, every trial below."""
    words = [*shared(postgres, server, "joined"), "hydra.sweeper.n_trials=8", "training.epochs=3"]
    folders = [tmp_path / "here", tmp_path / "there"]
    both = [start(*words, folder=folder) for folder in folders]
    for folder, controller in zip(folders, both, strict=True):
        assert controller.wait(timeout=120) == 0, (folder / "output.txt").read_text()
    trials = trials_at(postgres.url, "joined")
    assert len(trials) == 8
    assert all(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials)
    assert len({t.user_attrs["worker"]["pid"] for t in trials}) == 2
    parents, children = runs_at(server.uri, "joined")
    assert [run.info.status for run in parents] == ["FINISHED"]
    parent = parents[0].info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent}
    states = {int(r.data.tags["optuna.trial_number"]): r.info.status for r in children}
    assert states == {t.number: STATUS[t.state.name] for t in trials}
    for folder in folders:
        assert not (folder / "mlflow.db").exists()
        assert "is complete: 8 trials" in search(*words, folder=folder).stdout


def test_a_study_has_one_store(postgres, server: Server, tmp_path):
    """Another machine that names no MLflow server is refused, with the address of the study's."""
    words = [*shared(postgres, server, "stored"), "hydra.sweeper.n_trials=1"]
    search(*words, folder=tmp_path)
    words = [word for word in words if not word.startswith("tracking.uri")]
    done = search(*words, "hydra.sweeper.n_trials=2", folder=tmp_path, code=2)
    assert (
        f"tracking.uri must be where study stored is tracked already, {server.uri}" in done.stderr
    )
    assert len(trials_at(postgres.url, "stored")) == 1


def test_a_search_goes_on_without_its_mlflow_server(server: Server, tmp_path):
    """Killed under a search, the server is waited for by none; started again, it has every run."""
    words = ["hydra.sweeper.n_trials=6", "hydra.sweeper.workers=2", "pruner=none"]
    words += [f"tracking.uri={server.uri}", "tracking.experiment=restarted", "training.epochs=3"]
    controller = start(*words, folder=tmp_path)
    output = tmp_path / "output.txt"

    def finished(count: int) -> bool:
        try:
            return sum(t.state == TrialState.COMPLETE for t in trials_in(tmp_path)) >= count
        except (KeyError, FileNotFoundError):
            return False

    def wait_for(count: int) -> None:
        deadline = time.monotonic() + 90
        while not finished(count):
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)

    wait_for(1)
    server.kill()
    wait_for(4)
    server.start()
    assert controller.wait(timeout=120) == 0, output.read_text()
    assert "is complete: 6 trials" in search(*words, folder=tmp_path).stdout
    parents, children = runs_at(server.uri, "restarted")
    assert [run.info.status for run in parents] == ["FINISHED"]
    values = {int(r.data.tags["optuna.trial_number"]): r.data.metrics for r in children}
    assert {run.info.status for run in children} == {"FINISHED"}
    assert len(children) == 6
    for trial in trials_in(tmp_path):
        assert values[trial.number]["final/validation_accuracy"] == trial.value


def test_studies_of_one_name_keep_apart(server: Server, tmp_path):
    """Two folders, two journals, one server: each study has its own parent."""
    words = ["engine=local", "hydra.sweeper.n_trials=1", f"tracking.uri={server.uri}"]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        search(*words, "tracking.experiment=namesakes", folder=tmp_path / folder)
    parents, children = runs_at(server.uri, "namesakes")
    assert len(parents) == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {
        run.info.run_id for run in parents
    }


def test_a_study_outlives_its_mlflow_server(server: Server, tmp_path):
    """The server is down for the whole search; the same command later sends and sums up all."""
    words = ["engine=local", "hydra.sweeper.n_trials=2", f"tracking.uri={server.uri}"]
    words += ["tracking.experiment=outlived", "pruner=none"]
    server.kill()
    try:
        done = search(*words, folder=tmp_path)
    finally:
        server.start()
    assert "2/2 trials" in done.stdout
    assert "the same command sends the rest" in done.stdout  # Hydra's log goes there
    again = search(*words, folder=tmp_path)
    assert "sends the rest" not in again.stdout
    parents, children = runs_at(server.uri, "outlived")
    assert [run.info.status for run in [*parents, *children]] == ["FINISHED"] * 3
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert all("validation/accuracy" in run.data.metrics for run in children)


def test_an_interrupted_machine_leaves_the_others_runs_alone(server: Server, tmp_path):
    """The run of a trial that lives elsewhere stays RUNNING; one of no trial ends."""
    study = optuna.create_study(study_name="living")
    settings = tracked.settings(server.uri, experiment="living")
    runs = StudyRuns(settings)
    runs.open(study)
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("living").experiment_id
    trial = study.ask()
    ids = []
    for number in (trial.number, 7):
        tags = {"optuna.trial_number": str(number), STUDY_ID: study.user_attrs[STUDY_ID]}
        ids.append(client.create_run(experiment, round(time.time() * 1000), tags).info.run_id)
    assert runs.agree(study, tmp_path)
    assert runs.close(study, tmp_path, {}, {}, "KILLED")
    assert [client.get_run(run).info.status for run in ids] == ["RUNNING", "FAILED"]
    assert client.get_run(runs.runs["living"]).info.status == "KILLED"
