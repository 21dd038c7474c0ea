"""A server that needs three seconds a call costs a search next to nothing, and no record."""

from __future__ import annotations

import shlex
import time

import pytest

from mnist_study.tracking import open_tracker
from mnist_study.tracking.upload import UPLOADER, Patience
from mnist_study.tracking.upload import patience as waits
from tests import tracked
from tests.command import mnist_study
from tests.slow_proxy import slow
from tests.studied import runs_at, search, trials_in

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.mark.timeout(280)
def test_a_search_does_not_wait_for_a_slow_server(server, tmp_path):
    """What waits is on disk, the end says so and how to send it, and both ways send it."""
    words = ("hydra.sweeper.n_trials=3", "pruner=none", "tracking.experiment=slow")
    began = time.monotonic()
    (tmp_path / "untracked").mkdir()
    search(*words, "tracking=none", folder=tmp_path / "untracked")
    untracked = time.monotonic() - began
    with slow(server.uri, 3.0) as proxy:
        uri = f"tracking.uri={proxy.uri}"
        began = time.monotonic()
        said = search(*words, uri, folder=tmp_path).stdout
        # a run takes 45 calls; one import of MLflow is part of this
        assert time.monotonic() - began < untracked + 45
        assert "3 runs wait on disk, send them with: python -m mnist_study.tracking send " in said
        assert "the same command sends the rest" in said
        proxy.seconds = 0.0
        sent = shlex.split(said.partition("send them with: ")[2].partition(";")[0])
        done = mnist_study(*sent[3:], folder=tmp_path, module=sent[2])
        assert done.returncode == 0, done.stderr
        assert "MLflow has not" not in search(*words, uri, folder=tmp_path).stdout
    (parent,), runs = runs_at(server.uri, "slow")
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}
    found = {
        int(run.data.tags["optuna.trial_number"]): run.data.metrics["final/validation_accuracy"]
        for run in runs
    }
    assert len(runs) == 3
    assert found == {trial.number: trial.value for trial in trials_in(tmp_path)}


def test_the_next_trial_does_not_wait_for_the_last_one(server, tmp_path, monkeypatch):
    """Ends of runs return at once; the last wait is over at once where it would be for nothing."""
    monkeypatch.setattr(UPLOADER, "_began", time.monotonic())  # a worker that begins here
    left = []
    with slow(server.uri, 0.4) as proxy:
        began = time.monotonic()
        for number in range(3):
            section, record = tracked.settings(proxy.uri), tracked.record(tmp_path / str(number))
            with open_tracker(section, record, left.append) as tracker:
                list(tracker.follow(tracked.events()))
        assert time.monotonic() - began < 25  # three times 45 calls take a minute
        time.sleep(4)  # the pace of the server is known
        began = time.monotonic()
        assert len(set(left)) == 1
        left[0]()
        assert time.monotonic() - began < waits.BOUNDS[0]
        proxy.seconds = 0.0
        assert UPLOADER.wait()


def test_a_command_that_only_sends_has_all_the_time(monkeypatch):
    """No search is held up by it; after a search the bound is what it has not waited yet."""
    monkeypatch.setattr(waits, "OPENING", 0.1)
    monkeypatch.setattr(waits, "BOUNDS", (0.3, 0.3))
    patience = Patience("http://127.0.0.1:9")
    assert patience.at_end(lambda: time.sleep(0.5) or "sent", large=True) == "sent"
    patience = Patience("http://127.0.0.1:9")
    patience.searching = True
    with pytest.raises(TimeoutError):
        patience.at_end(lambda: time.sleep(0.5), large=False)
    patience = Patience("sqlite:////x/mlflow.db")
    patience.searching = True
    assert patience.at_end(lambda: time.sleep(0.5) or "sent", large=True) == "sent"
    with pytest.raises(ZeroDivisionError):
        patience.briefly(lambda: 1 / 0)
