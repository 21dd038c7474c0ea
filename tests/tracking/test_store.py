"""Which addresses a store may have, and how it is created."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from mlflow import MlflowClient

from mnist_study.config import ConfigError
from mnist_study.tracking import open_tracker
from mnist_study.tracking.store import check_store, store_uri
from tests import tracked
from tests.tracked import python

# MLflow 3.17 uses an option that SQLAlchemy 2.1 will remove.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


def test_two_processes_may_create_the_store_at_once(tmp_path):
    """Database and experiment are created once, and both runs are in that experiment."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    codes = [
        "import pathlib\nfrom tests import tracked\n"
        "from mnist_study.tracking import open_tracker\n"
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
    with pytest.raises(ConfigError, match=f"no permission to write {tmp_path}"):
        check_store(f"sqlite:///{tmp_path}/mlflow.db")
