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
from mnist_study.tracking.records import find_outboxes
from mnist_study.tracking.store import check_store, first_use, store_uri, with_password
from mnist_study.tracking.upload import uploader
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


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    """`mlflow.db.lock` that points to a user's file: the file stays whole, and is named."""
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "mlflow.db.lock").symlink_to("mine.txt")
    with pytest.raises(ConfigError, match=r"remove .*/mlflow\.db\.lock"):
        open_tracker(tracked.settings(f"sqlite:///{tmp_path}/mlflow.db"), tracked.record(tmp_path))
    with (
        pytest.raises(OSError, match="symbolic links"),
        first_use(f"sqlite:///{tmp_path}/mlflow.db"),
    ):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_lock_is_never_emptied(tmp_path):
    """A user's file that has its name keeps its content."""
    (tmp_path / "mlflow.db.lock").write_text("mine")
    with first_use(f"sqlite:///{tmp_path}/mlflow.db"):
        pass
    assert (tmp_path / "mlflow.db.lock").read_text() == "mine"


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db.partial"])
def test_another_programs_database_is_refused(name, tmp_path):
    """MLflow's tables go into no database but its own, and nothing of another kind is replaced."""
    with closing(sqlite3.connect(tmp_path / name)) as database:
        database.execute("CREATE TABLE mine (x)")
    before = (tmp_path / name).read_bytes()
    with pytest.raises(ConfigError, match=f"{name} is another program's database"):
        check_store(f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "mlflow.db.partial").write_text("mine, and no database at all")
    with pytest.raises(ConfigError, match=r"mlflow\.db.* is another"):
        check_store(f"sqlite:///{tmp_path}/mlflow.db")
    if name == "mlflow.db":
        assert (tmp_path / name).read_bytes() == before


def test_a_store_in_the_home_folder_is_found(tmp_path, monkeypatch):
    """~ is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_uri("sqlite:///~/mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_password_is_not_written_down(tmp_path, monkeypatch):
    """The records have stars, are for their owner alone, and this process still knows the rest."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = "http://me:se@same@127.0.0.1:9"
    monkeypatch.setattr(uploader, "TIMEOUT", 0.0)
    with open_tracker(tracked.settings(uri), tracked.record(tmp_path)) as tracker:
        list(tracker.follow(tracked.events()))
    records = tmp_path / "tracking/records.jsonl"
    assert records.stat().st_mode & 0o777 == 0o600
    assert [p for p in tmp_path.rglob("*") if p.is_file() and b"same" in p.read_bytes()] == []
    assert with_password("http://me:***@127.0.0.1:9") == uri
    with pytest.raises(ConfigError, match="its password is never written down"):
        with_password("http://me:***@elsewhere:9")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:other@elsewhere:9")
    assert with_password("http://me:***@elsewhere:9") == "http://me:other@elsewhere:9"


def test_a_file_named_as_records_are_is_left_alone(tmp_path):
    """`send` opens the records of runs, and no other records.jsonl."""
    for folder in ("data", "tracking"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "records.jsonl").write_text('{"mine": 1}')
    assert find_outboxes(tmp_path) == []


def test_a_store_without_permission_is_refused(tmp_path, monkeypatch):
    """The place that cannot be written is named."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match=f"no permission to write {tmp_path}"):
        check_store(f"sqlite:///{tmp_path}/mlflow.db")
