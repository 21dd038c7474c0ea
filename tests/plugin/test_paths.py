"""A path is looked at before it is opened: only what is a study's is written to."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from hydra_plugins.hydra_optuna_study import find_storage
from hydra_plugins.hydra_optuna_study._private import KernelLock
from tests.plugin.sweeping import load, sweep

ODD = {  # what is typed as hydra.sweeper.storage: what the sentence says, the folder as {0}
    "results.json": "{0}/results.json is not a journal of Optuna, and stays as it is",
    "notes.txt": "{0}/notes.txt is not a journal of Optuna, and stays as it is",
    "zeros": "{0}/zeros is not a journal of Optuna, and stays as it is",
    "empty.db": "{0}/empty.db is an SQLite file; write sqlite:///{0}/empty.db",
    "~/notes.txt": "{0}/notes.txt is not a journal of Optuna",
    "sqlite:///notes.txt": "{0}/notes.txt is not an SQLite file, and stays as it is",
    "sqlite:///good.journal": "{0}/good.journal is a journal; write {0}/good.journal without",
    "sqlite:///other.db": "{0}/other.db is another program's database, and stays as it is",
    "folder": "{0}/folder is a folder; name a file in it, {0}/folder/study.journal say",
    "pipe": "{0}/pipe is neither a file nor absent",
    "notes.txt/study.journal": "{0}/notes.txt is no folder",
    "linked.journal": "{0}/.linked.journal.claim is a link, which no lock may be; remove it",
    "''": "a file must be named, got ''",
    "sqlite:///": "a file must be named, got 'sqlite:///'",
    "/proc/nobody/study.journal": "/proc/nobody/study.journal: No such file or directory",
    "postgresql://me:pw@127.0.0.1:abc/db": "postgresql://USER:PASSWORD@HOST:PORT/DATABASE must be "
    "given, PORT a number, got postgresql://me:***@127.0.0.1:abc/db",
    "postgresql://me:p@w@127.0.0.1:1/db": "postgresql://USER:PASSWORD@HOST:PORT/DATABASE must be "
    "given, with %40 for each @ of the password, got postgresql://me:***@127.0.0.1:1/db",
}


@pytest.fixture
def odd(tmp_path_factory, monkeypatch) -> Path:
    """A folder of a user's own files; it is the home folder, too."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "results.json").write_text('{"accuracy": 0.98}')  # no final newline
    (folder / "notes.txt").write_text("mine\n")
    (folder / "zeros").write_bytes(bytes(40))
    (folder / "folder").mkdir()
    (folder / "good.journal").write_text('{"op_code":0,"worker_id":"a","study_name":"s"')
    os.mkfifo(folder / "pipe")
    for name in ("empty", "other"):
        with sqlite3.connect(folder / f"{name}.db") as database:
            database.execute("CREATE TABLE mine (x)")
            if name == "empty":
                database.execute("DROP TABLE mine")
    (folder / ".linked.journal.claim").symlink_to("notes.txt")
    monkeypatch.setenv("HOME", str(folder))
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.mark.parametrize("typed", ODD)
def test_what_is_not_a_studys_is_refused_and_stays_as_it_is(odd, typed, capsys, monkeypatch):
    """One sentence with the key, the path and the likely fix; no file is made or changed."""
    monkeypatch.chdir(odd)
    before = contents(odd)
    if typed.startswith("/proc"):  # only an attempt tells
        sweep(odd, f"hydra.sweeper.storage={typed}", code=2)
        return
    with pytest.raises(SystemExit) as left:
        find_storage(typed.strip("'"), odd / "multirun")
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.startswith(f"hydra.sweeper.storage: {ODD[typed].format(odd)}")
    assert said.count("\n") == 1
    assert contents(odd) == before


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("hydra.sweeper.storage=results.json", "hydra.sweeper.storage: {0}/results.json is not a"),
        ("hydra.sweep.dir=notes.txt", "hydra.sweep.dir: a folder to write to must be given, got "),
        ("hydra.sweeper.study_name=../../x", "hydra.sweeper.study_name: the name of a folder must"),
        ("hydra.sweeper.study_name=..", "hydra.sweeper.study_name: the name of a folder must"),
        ("hydra.sweeper.study_name=''", "hydra.sweeper.study_name: the name of a folder must"),
    ],
)
def test_a_sweep_is_refused_before_anything_is_written(odd, override, sentence):
    """As typed: exit code 2, one sentence, every file as it was."""
    before = contents(odd)
    done = sweep(odd, override, code=2)
    assert done.stderr.startswith(sentence.format(odd))
    assert done.stderr.count("\n") == 1
    assert contents(odd) == before


def test_a_name_with_an_apostrophe_is_a_name(tmp_path):
    """Its folder has it, and a second start finds the study complete."""
    name = "hydra.sweeper.study_name=\"O'Brien's\""
    sweep(tmp_path, name)
    assert "study O'Brien's is complete: 6 trials" in sweep(tmp_path, name).stdout
    assert len(load(tmp_path, "O'Brien's").trials) == 6


def test_a_journal_in_the_home_folder_is_found(tmp_path, monkeypatch):
    """~ is the home folder, in a plain path and behind sqlite:///."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_storage("~/a.journal", Path()).file == tmp_path / "a.journal"
    assert find_storage("sqlite:///~/a.db", Path()).file == tmp_path / "a.db"


def test_a_lock_neither_empties_nor_follows(tmp_path):
    """A file that has a lock's name keeps its bytes; a link of that name is not opened."""
    own = tmp_path / ".study.journal.claim"
    own.write_text("mine")
    lock = KernelLock(tmp_path / "study.journal", "claim")
    lock.acquire()
    lock.release()
    assert own.read_text() == "mine"
    own.unlink()
    own.symlink_to("absent")
    with pytest.raises(SystemExit):
        lock.acquire()
    assert not (tmp_path / "absent").exists()


def test_a_journal_that_was_exchanged_is_not_written_to(tmp_path, capsys):
    """Between two records of a search another file takes its name: it keeps every byte."""
    location = find_storage(str(tmp_path / "study.journal"), tmp_path)
    storage = location.open()
    (tmp_path / "study.journal").write_text("mine, without a newline")
    with pytest.raises(SystemExit):
        storage.create_new_study([], "late")
    assert "is not a journal of Optuna" in capsys.readouterr().err
    assert (tmp_path / "study.journal").read_text() == "mine, without a newline"
    KernelLock(tmp_path / "study.journal", "write").acquire()  # it is free again


def test_reading_makes_no_file(tmp_path):
    """Neither a journal nor a database, a lock or a table."""
    for address in ("none.journal", "sqlite:///none.db"):
        name = address.replace("none", str(tmp_path / "none"))
        assert not find_storage(name, tmp_path, reading=True).has_studies
    assert list(tmp_path.iterdir()) == []
    sweep(tmp_path)
    journal = tmp_path / "multirun/toy/study.journal"
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(journal, alone)
    with (alone / "study.journal").open("ab") as torn:
        torn.write(b'{"op_co')
    before = contents(alone)
    location = find_storage(str(alone / "study.journal"), tmp_path, reading=True)
    assert location.has_studies
    assert len(location.open(reading=True).get_all_studies()) == 1
    assert contents(alone) == before
