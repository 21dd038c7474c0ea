"""Records that a power cut has damaged, and stores that have lost runs: what there is arrives."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from mnist_study.tracking import open_tracker
from mnist_study.tracking.outbox import Outbox
from mnist_study.tracking.records import read_sent
from mnist_study.tracking.resend import main, resend, waiting
from tests import tracked
from tests.tracked import expected, files, history, track

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


def contents(uri: str, run_id: str):
    """All that a store has of a run: status, points, params, tags, the images' pixels, files."""
    client = MlflowClient(uri)
    run = client.get_run(run_id)
    images = Path(client.download_artifacts(run_id, "images"))
    pixels = {path.name: Image.open(path).convert("RGB").tobytes() for path in images.iterdir()}
    tags = {key: value for key, value in run.data.tags.items() if key != "mlflow.user"}
    points = history(client, run_id)
    return run.info.status, points, run.data.params, tags, pixels, files(client, run_id)


@pytest.mark.parametrize(
    "state",
    [b"", b"\0" * 40, b'{"sqlite:///', b"[]", b"3", b'{"URI": 3}', b'{"URI": {"run_id": 3}}',
     b'{"URI": {"run_id": "RUN", "sent": "x"}}', b'{"URI": {"run_id": "RUN", "sent": 999}}'],
)  # fmt: skip
def test_what_cannot_be_read_of_sent_json_counts_as_not_sent(state, uri, tmp_path):
    """The run is found in the store by its token, and everything is there once."""
    run_id = track(uri, tmp_path)
    before = contents(uri, run_id)
    path = tmp_path / "tracking" / "sent.json"
    path.write_bytes(state.replace(b"URI", uri.encode()).replace(b"RUN", run_id.encode()))
    assert main(["send", str(tmp_path)]) == 0
    assert read_sent(path.parent)[uri]["run_id"] == run_id
    assert contents(uri, run_id) == before


def test_damaged_lines_are_left_out_and_the_others_arrive(uri, tmp_path):
    """Whatever is cut off, filled with NULs, garbage or flipped, sending comes to its end."""
    source = tmp_path / "source"
    with open_tracker(tracked.settings(uri), tracked.record(source)) as tracker:
        list(tracker.follow(tracked.events()))
    data = (source / "tracking" / "records.jsonl").read_bytes()
    header = data.index(b"\n") + 1
    token = json.loads(data[:header])["token"].encode()
    client, whole = MlflowClient(uri), expected(tracked.events())
    rng = random.Random(0)
    for number in range(8):
        folder = tmp_path / str(number)
        shutil.copytree(source, folder)
        (folder / "tracking" / "sent.json").unlink()
        first = rng.randrange(header, len(data))
        damage = [b"\0" * 100, b"", b"garbage\n", bytes([data[first] ^ 64])][number % 4]
        cut = data[:first] + damage + data[first + len(damage) :]
        cut = cut[: None if damage else first].replace(token, b"another run %d" % number)
        (folder / "tracking" / "records.jsonl").write_bytes(cut)
        assert main(["send", str(folder)]) == 0, number
        run_id = read_sent(folder / "tracking")[uri]["run_id"]
        if number % 4 < 3:  # else the flipped bit may be one of a number or a name
            points = history(client, run_id)
            assert all(set(many) <= set(whole[key]) for key, many in points.items())
        assert client.get_run(run_id).info.status in ("FINISHED", "KILLED")
        assert resend(folder, uri) == []


def test_a_count_of_records_that_are_gone_says_nothing(uri, tmp_path):
    """A run whose last records a power cut took still ends in the store."""
    with open_tracker(tracked.settings(uri), tracked.record(tmp_path)) as tracker:
        for event in tracker.follow(tracked.events()):
            if event.step == 25:
                break
    path = tmp_path / "tracking" / "records.jsonl"
    client = MlflowClient(uri)
    client.update_run(tracker.run_id, status="RUNNING")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    state = json.loads((path.parent / "sent.json").read_text())
    state[uri]["whole"] = False
    (path.parent / "sent.json").write_text(json.dumps(state))
    assert main(["send", str(tmp_path)]) == 0
    assert client.get_run(tracker.run_id).info.status == "KILLED"


def test_a_run_without_its_first_record_is_named_and_holds_up_no_other(uri, tmp_path, caplog):
    """One sentence; the study's end warns of it and counts everything else as arrived."""
    track(uri, tmp_path / "0")
    track(uri, tmp_path / "1")
    for number in "01":
        (tmp_path / number / "tracking" / "sent.json").unlink()
    path = tmp_path / "0" / "tracking" / "records.jsonl"
    path.write_bytes(b"\0" * 50 + path.read_bytes()[50:])
    assert resend(tmp_path, uri) == []
    sentence = f"{tmp_path}/0: the first record is damaged, this run cannot be sent"
    assert sentence in caplog.messages
    assert read_sent(tmp_path / "1" / "tracking")[uri]["whole"]
    assert main(["send", str(tmp_path)]) == 1


def test_an_address_copies_a_run_that_has_arrived_elsewhere(uri, tmp_path, capsys):
    """`send FOLDER URI` sends everything to that store, whatever has gone to another one."""
    run_id = track(uri, tmp_path)
    other = f"sqlite:///{tmp_path}/other.db"
    assert main(["send", str(tmp_path), other]) == 0
    assert not capsys.readouterr().out.startswith(f"{tmp_path}: 0 records sent")
    copy = read_sent(tmp_path / "tracking")[other]["run_id"]
    assert contents(other, copy) == contents(uri, run_id)
    assert main(["send", str(tmp_path), other]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: 0 records sent, run {copy}\n"
    client = MlflowClient(other)
    assert len(client.search_runs([client.get_experiment_by_name("toys").experiment_id])) == 1


def test_a_store_that_lost_its_runs_gets_them_again(tmp_path, monkeypatch, caplog):
    """Points, params, tags, files and images; a second time changes nothing, and it is said."""
    stores = [f"sqlite:///{tmp_path}/{name}.db" for name in ("lost", "kept")]
    ids = [track(stores[0], tmp_path / "study" / str(number), depth=2) for number in range(2)]
    before = [contents(stores[0], run_id) for run_id in ids]
    # As in a later process: this one has the old database open.
    for state in (tmp_path / "study").rglob("sent.json"):
        state.write_text(state.read_text().replace("lost.db", "kept.db"))
    for records in (tmp_path / "study").rglob("records.jsonl"):
        records.write_text(records.read_text().replace("lost.db", "kept.db", 1))
    assert waiting(tmp_path / "study", stores[1]) == 0
    assert resend(tmp_path / "study", stores[1], known=ids) == []
    assert not (tmp_path / "kept.db").exists()  # whoever knows that the store has them asks nobody
    assert resend(tmp_path / "study", stores[1]) == []
    assert "the store has lost 2 runs: they are sent again from their folders" in caplog.messages
    again = [
        read_sent(tmp_path / "study" / str(number) / "tracking")[stores[1]]["run_id"]
        for number in range(2)
    ]
    assert [contents(stores[1], run_id) for run_id in again] == before
    caplog.clear()
    assert main(["send", str(tmp_path / "study")]) == 0
    assert not caplog.messages
    client = MlflowClient(stores[1])
    assert len(client.search_runs([client.get_experiment_by_name("toys").experiment_id])) == 2


def test_a_run_that_somebody_deleted_is_not_lost(uri, tmp_path):
    """What was thrown away on MLflow's pages does not come back."""
    run_id = track(uri, tmp_path)
    client = MlflowClient(uri)
    client.delete_run(run_id)
    assert resend(tmp_path, uri) == []
    assert read_sent(tmp_path / "tracking")[uri]["run_id"] == run_id
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"


def test_a_password_is_not_written_down(tmp_path, capsys):
    """The records have the store's address without it; sending asks for the address."""
    uri = "http://me:secret@127.0.0.1:9"
    header = {
        "uri": "http://me:***@127.0.0.1:9", "experiment": "toys", "name": "a", "token": "b",
        "time": 1, "params": {}, "tags": {}, "dataset": {},
    }  # fmt: skip
    outbox = Outbox.create(tmp_path, header, uri)
    outbox.mark(None)
    outbox.close()
    assert b"secret" not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert main(["send", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        f"{tmp_path}: tracking.uri=http://me:***@127.0.0.1:9 must be given again"
    )
    assert error.count("\n") == 1
