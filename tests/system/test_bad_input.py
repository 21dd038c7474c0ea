"""A user's mistake costs one clear sentence and a non-zero exit, and leaves nothing behind."""

from __future__ import annotations

import random

import pytest

from tests.campaigns.wrong_commands import faults, mistakes
from tests.command import mnist_study
from tests.typist import typist

MISTAKES = {  # what is typed: what the one sentence must name
    "training.epochs=0": "training.epochs >= 1 must hold, got epochs=0",
    "training.epochs=few": "training.epochs: Value 'few' of type 'str' could not be converted",
    "training.batch_size=0": "training.batch_size must be an integer >= 1 or `all`, got "
    "batch_size=0",
    "training.batch_size=60000": "training.batch_size <= training images must hold, "
    "got training.batch_size=60000, training images=50000",
    "training.eval_every=0": "training.eval_every must be an integer >= 1 or `epoch`",
    "training.sampling=sometimes": "training.sampling must be one of shuffle, replacement",
    "training.eval_every=1000000": "training.eval_every <= iterations of the run must hold",
    "training.threads=100000": "training.threads <= cores of this machine must hold",
    "training.seed=-1": "training.seed >= 0 must hold",
    "optimizer.lr=-1": "optimizer.lr > 0 must hold, got lr=-1",
    "optimizer.lr=fast": "optimizer.lr must be of type float, got 'fast'",
    "+optimizer.speed=1": "optimizer.speed is no key of mnist_study.nn.optimizers.Momentum",
    "+model.depht=3": "model.depht is no key of mnist_study.nn.network.Network; did you mean "
    "model.depth?",
    "+training.epoch=3": "training.epoch is no key of training; did you mean training.epochs?",
    "+optimzer.lr=1": "optimzer.lr is no key or group of the configuration; did you mean "
    "optimizer.lr=1?",
    "model.depht=3": "model.depht is no key or group of the configuration; did you mean "
    "model.depth=3?",
    "lr=0.1": "lr is no key or group of the configuration; did you mean optimizer.lr=0.1?",
    "modell=mlp": "modell is no key or group of the configuration; did you mean model=mlp?",
    "optimizer=adm": "optimizer must be one of adam, adamw, momentum, nesterov, sgd, got adm; "
    "did you mean optimizer=adam?",
    "experiment=2024": "experiment must be a file of conf/experiment, got 2024",
    "model=null": "model must be one of mlp, softmax, got null",
    "~model": "~model takes away what every run needs",
    "training=3": "training must be a section with keys of its own, got training=3",
    "~training.seed": "training.seed must be given, it has no default",
    "nonsense": "nonsense is no key or group",
    "--epochs=3": "there is no option --epochs; a key is set as key=value, without dashes",
    "model.hidden=[1": "model.hidden=[1 must be key=value in Hydra's grammar",
    "model.width=${nowhere}": "model.width: Interpolation key 'nowhere' not found",
    "hydra.run.dir=/etc/passwd/a": "hydra.run.dir must be a folder to write to, got /etc/passwd/a",
    "+sweep=optna": "sweep must be one of",
    "loss._target_=os.mkdir +loss.path=made": "loss: no _target_ may be of Python's own library, "
    "got os.mkdir",
    "model.activation={_target_:os.mkdir,path:made}": "model: no _target_ may be of Python's own",
    "optimizer._target_=nowhere.Optimizer": "optimizer._target_ must name what can be imported",
    "model.depth=0": "model.depth >= 1 must hold, got depth=0",
    "model.width=0": "model.width >= 1 must hold, got width=0",
    "model.hidden=[100,0]": "model.hidden >= 1 must hold for every layer",
    "model.hidden=[]": "model.hidden must name a layer or be null",
    "model.width=1000000000": "model: the network must fit into memory, 9,540 GB are needed",
    "model.init_std=-1": "model.init_std >= 0 must hold, got init_std=-1",
    "model.activation=step": "model.activation must be one of relu, sigmoid, tanh, got step",
    "model.init=zero": "model.init must be one of normal, he, glorot, got zero",
    "schedule.warmup=1": "schedule.warmup in [0, 1) must hold",
    "data.validation=60000": "data.validation < training images must hold, got validation=60000, "
    "training images=60000",
    "data=idx": "data.root must be given",
    "data=idx data.root=nowhere": "data.root must be an existing folder",
    "tracking.uri=": "tracking.uri must be an address or null",
    "tracking.experiment=": "tracking.experiment must be one line of 1 to 256 characters",
    "tracking.experiment=../up": "tracking.experiment must not lead out of its folder",
    "tracking.run_name=": "tracking.run_name must be one line of 1 to 250 characters",
    "+tracking.tags.a.b=x": "tracking.tags.a must be a text",
    "+tracking.tags.mlflow.parentRunId=x": "tracking.tags.mlflow must be a text",
    "+tracking.tags={mlflow.user:x}": "tracking.tags.mlflow.user must be another name",
    "+tracking.tags.study=x": "tracking.tags.study must be another name",
    "tracking=mlflow tracking.uri=http://:80": "tracking.uri must be http(s)://HOST[:PORT]",
    "tracking=mlflow tracking.uri=postgresql://": "tracking.uri must be postgresql://USER@HOST",
    "tracking=mlflow tracking.uri=sqlite:////nowhere/a.db": "tracking.uri must lie in a folder",
    "tracking=mlflow tracking.uri=ftp://here": "tracking.uri must be",
    "pruner=null +sweep=optuna": "pruner must be one of halving, hyperband, median",
    "optimizer=null": "optimizer must be one of adam, adamw, momentum, nesterov, sgd, got null",
    "+experiment=2024": "experiment must be a file of conf/experiment, got 2024",
    "model=-1.5": "model must be one of mlp, softmax, got -1.5",
    "model=": "model must be one of mlp, softmax, got ",
    "model=1e3": "model must be one of mlp, softmax, got 1e3",
    "+sweep=optuna hydra.sweeper.metric=null": "hydra.sweeper.metric must name what the search",
}


@pytest.fixture(scope="module")
def type_words():
    with typist() as types:
        yield types


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_gets_one_sentence_and_exit_code_2(typed, type_words, tmp_path):
    """The key is named, there is no traceback, and no file is left in the working directory."""
    done = type_words("tracking=none", *typed.split(), folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"mnist_study: {MISTAKES[typed]}")
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_run_says_where(tmp_path):
    """Exit code 1 and one sentence with step, rate and loss."""
    done = mnist_study("tracking=none", "optimizer.lr=1e30", folder=tmp_path)
    assert done.returncode == 1
    assert "the training diverged: loss is nan at step" in done.stderr
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("optimizer.lr=interval(1,0.1)", "optimizer.lr"),
        ("model.depht=choice(1,2)", "model.depht: no such key in the configuration; did you mean "),
        ("optimizer.speed=interval(1,2)", "speed"),
        ("hydra.sweeper.direction=up", "hydra.sweeper.direction"),
    ],
)
def test_a_mistake_in_a_search_aborts_before_the_first_trial(typed, named, tmp_path):
    """Swapped bounds, an unknown key or direction: the message names it, and no trial starts."""
    done = mnist_study("+sweep=optuna", "tracking=none", typed, folder=tmp_path)
    assert done.returncode in (1, 2)
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("study.journal"))


def sample(seed):
    """A mistake of each group."""
    groups = {}
    for mistake in mistakes():
        groups.setdefault(mistake.group, []).append(mistake)
    return [random.Random(seed).choice(found) for found in groups.values()]


@pytest.mark.parametrize("mistake", sample(11), ids=lambda m: f"{m.group} {m.words[-1]}"[:60])
def test_a_sample_of_the_campaign_is_refused(mistake, tmp_path):
    """One sentence that names the mistake, exit code 2, and the folder as it was."""
    assert faults(mistake, tmp_path) == []
