"""The samplers and pruners that a user can type, each on a few small trials."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest
from optuna.trial import TrialState

from tests.command import PROJECT
from tests.needs import needs_package
from tests.studied import runs_of, search, trials_in

QUICK = ["engine=local", "tracking=none"]
SAMPLERS = sorted(path.stem for path in (PROJECT / "conf/sampler").glob("*.yaml"))
PRUNERS = sorted(path.stem for path in (PROJECT / "conf/pruner").glob("*.yaml"))
OWN_SPACE = ["training.batch_size=256", "hydra.sweeper.n_trials=4"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_can_be_typed(sampler, tmp_path):
    """It proposes different points within the space; one that lacks a package says which."""
    words = [*QUICK, *OWN_SPACE, f"sampler={sampler}", "pruner=none"]
    if sampler == "grid":
        words.append("optimizer.lr=choice(0.03,0.1)")
    if sampler == "cmaes":
        needs_package("cmaes", "samplers")
    if sampler == "gp" and find_spec("torch") is None:
        done = search(*words, folder=tmp_path, code=2)
        assert done.stderr.endswith("GPSampler needs a package more: pip install torch scipy\n")
        return
    if sampler == "gp":
        words.append("+hydra.sweeper.sampler.n_startup_trials=2")  # the other two are modelled
    done = search(*words, folder=tmp_path)
    assert done.stderr == ""
    trials = trials_in(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert len({tuple(trial.params.values()) for trial in trials}) == 4
    assert all(0.01 <= trial.params["optimizer.lr"] <= 0.5 for trial in trials)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_pruner_can_be_typed(pruner, tmp_path):
    """Good rates first, then hopeless ones: all but none and the patient ones end them early."""
    words = [*QUICK, *OWN_SPACE, f"pruner={pruner}", "training.epochs=3", "sampler=grid"]
    words += ["optimizer.lr=choice(0.1,0.2,1e-6,2e-6)", "model.depth=1", "schedule=constant"]
    words += ["+hydra.sweeper.sampler.seed=4"]
    if pruner in ("median", "percentile"):
        words += ["hydra.sweeper.pruner.n_startup_trials=1"]
    search(*words, folder=tmp_path)
    states = [trial.state for trial in trials_in(tmp_path)]
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}
    if pruner in ("halving", "median", "percentile", "threshold"):
        assert TrialState.PRUNED in states
    if pruner == "none":
        assert states == [TrialState.COMPLETE] * 4


def test_two_objectives_give_a_front(tmp_path):
    """The front is printed, drawn and counted; MLflow has its trials below one parent."""
    done = search("hydra.sweeper.n_trials=6", "engine=local", folder=tmp_path, sweep="pareto")
    trials = trials_in(tmp_path, "pareto")
    front = [
        t.number
        for t in trials
        if not any(
            all(a <= b for a, b in zip(other.values, t.values, strict=True))
            and other.values != t.values
            for other in trials
        )
    ]
    table = re.split(r"^trial .*\n", done.stdout, flags=re.MULTILINE)[1].splitlines()
    assert sorted(int(line.split()[0]) for line in table) == front
    (parent,) = [r for r in runs_of(tmp_path / "mlflow.db") if r["tags"].get("kind") == "study"]
    assert parent["metrics"]["pareto/trials"] == len(front)
    assert len(list((tmp_path / "mlruns").rglob("study.png"))) == 1


def test_layers_have_widths_only_where_they_are(tmp_path):
    """`widths.second` is sampled only in networks of three weight layers and more."""
    words = [*QUICK, "hydra.sweeper.n_trials=5", "widths.first=tag(log,int(interval(8,16)))"]
    words += ["widths.second=range(4,9)", "widths.third=range(4,9)"]
    search(*words, folder=tmp_path, sweep="widths")
    for trial in trials_in(tmp_path, "widths"):
        assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        depth = trial.params["model.depth"]
        names = ["widths.first", "widths.second", "widths.third"]
        assert [name in trial.params for name in names] == [depth > k for k in (1, 2, 3)]


def test_the_trials_of_a_pruned_study_agree_with_mlflow(tmp_path):
    """A pruned trial is KILLED, with epoch and score as its reason."""
    words = ["engine=local", "pruner=threshold", "hydra.sweeper.pruner.lower=0.99"]
    search(*words, "training.epochs=2", "hydra.sweeper.n_trials=2", folder=tmp_path, code=1)
    trials = trials_in(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.PRUNED] * 2
    runs = [r for r in runs_of(tmp_path / "mlflow.db") if "optuna.trial_number" in r["tags"]]
    assert [run["status"] for run in runs] == ["KILLED"] * 2
    reasons = [run["tags"].get("reason") for run in runs_of(tmp_path / "mlflow.db")]
    assert any(re.match(r"epoch 1: validation/accuracy 0\.\d+", reason or "") for reason in reasons)
