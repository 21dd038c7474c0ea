"""What the pruner is told, and which trials it therefore ends."""

from __future__ import annotations

from types import SimpleNamespace

import optuna
import pytest
from hydra.core.hydra_config import HydraConfig

from mnist_study.nn.training import EpochEnded, Measured, Score
from mnist_study.study.callback import reported
from tests.studied import search, trials_in

SCORES = {1: Score(0.5, 0.8), 2: Score(0.4, 0.9)}  # epoch -> loss and accuracy on validation


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("validation/accuracy", {1: 0.8, 2: 0.9}),
        ("validation/loss", {1: 0.5, 2: 0.4}),
        ("validation/error", {1: 0.2, 2: 0.1}),
        ("train/accuracy", {}),
    ],
)
def test_the_pruner_gets_each_epochs_validation_score(metric, expected, monkeypatch):
    """The score itself, with its sign, once an epoch, under the epoch's number."""
    config = SimpleNamespace(sweeper=SimpleNamespace(metric=metric))
    monkeypatch.setattr(HydraConfig, "get", lambda: config)
    events = [
        Measured(5, 1, 0.01, {"validation": SCORES[2]}),
        *(EpochEnded(20 * k, k, 0.01, {"validation": score}) for k, score in SCORES.items()),
    ]
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    trial = study.ask()
    assert list(reported(iter(events), trial)) == events
    assert study.trials[trial.number].intermediate_values == pytest.approx(expected)


def test_a_median_pruner_ends_the_hopeless_trials(tmp_path):
    """Good rates go first, one worker, fixed seeds: exactly the two rates near zero are ended."""
    words = ["engine=local", "tracking=none", "pruner=median", "sampler=grid", "schedule=constant"]
    words += ["optimizer.lr=choice(0.1,0.2,1e-6,2e-6)", "model.depth=1", "training.epochs=3"]
    words += ["training.batch_size=256", "hydra.sweeper.n_trials=4"]
    words += ["+hydra.sweeper.sampler.seed=4", "hydra.sweeper.pruner.n_startup_trials=1"]
    search(*words, folder=tmp_path)
    states = {trial.params["optimizer.lr"]: trial.state.name for trial in trials_in(tmp_path)}
    assert states == {0.1: "COMPLETE", 0.2: "COMPLETE", 1e-6: "PRUNED", 2e-6: "PRUNED"}
