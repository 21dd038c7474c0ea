"""The password of a tracking server: it works, and no file and no message has it."""

from __future__ import annotations

from tests.command import mnist_study
from tests.studied import runs_at, search

SECRET = "open@sesame"  # whose @ should have been written %40


def leaks(folder) -> list[str]:
    """The files below that hold a part of the password."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if b"sesame" in path.read_bytes()]


def test_a_typed_password_of_the_tracking_server_is_kept_nowhere(server, tmp_path):
    """A search by worker processes reaches the server; what it leaves has a reference."""
    uri = server.uri.replace("//", f"//me:{SECRET}@")
    words = ("hydra.sweeper.workers=2", "hydra.sweeper.n_trials=2", "pruner=none")
    done = search(f"tracking.uri={uri}", "tracking.experiment=secret", *words, folder=tmp_path)
    assert "sesame" not in done.stdout + done.stderr
    assert leaks(tmp_path) == []
    config = next((tmp_path / "multirun").rglob("config.yaml")).read_text()
    assert "uri: http://me:${oc.env:TRACKING_URI_PASSWORD}@127.0.0.1" in config
    parents, trials = runs_at(server.uri, "secret")
    assert [run.info.status for run in [*parents, *trials]] == ["FINISHED"] * 3
    assert not any("sesame" in str(run.data.to_dictionary()) for run in [*parents, *trials])


def test_what_a_server_did_not_take_is_sent_with_the_password_given_again(server, tmp_path):
    """The records have stars for it; the URI behind the folder, or MLflow's variable, has it."""
    words = ("model=softmax", "training.epochs=1", "training.threads=1")
    done = mnist_study(*words, f"tracking.uri=http://me:{SECRET}@127.0.0.1:9", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sesame" not in done.stdout + done.stderr
    assert leaks(tmp_path) == []
    sender = "mnist_study.tracking"
    done = mnist_study("send", "outputs", folder=tmp_path, module=sender)
    assert done.returncode == 1
    assert "its password is never written down" in done.stderr
    uri = server.uri.replace("//", f"//me:{SECRET}@")
    done = mnist_study("send", "outputs", uri, folder=tmp_path, module=sender)
    assert done.returncode == 0, done.stderr
    assert leaks(tmp_path) == []


def test_a_password_in_a_file_of_the_user_is_not_copied(tmp_path):
    """Of a configuration that has it in clear, what Hydra keeps of a run has a reference."""
    (tmp_path / "conf/tracking").mkdir(parents=True)
    text = f"uri: http://me:{SECRET}@127.0.0.1:9\nbackend: none\nexperiment: x\nrun_name: null\n"
    (tmp_path / "conf/tracking/mine.yaml").write_text(f"{text}tags: {{}}\n")
    folder = tmp_path / "work"
    folder.mkdir()
    words = ("model=softmax", "training.epochs=1", "tracking=mine")
    done = mnist_study(*words, "--config-dir", str(tmp_path / "conf"), folder=folder)
    assert done.returncode == 0, done.stderr
    assert leaks(folder) == []
