"""The champion's figures, what ties with the best, and the study commands."""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from mnist_study.stats import Interval
from mnist_study.study.champion import champion_line, champion_search, near_ties, summary
from mnist_study.study.figure import study_figure
from tests.command import mnist_study

FLOAT = optuna.distributions.FloatDistribution(1e-3, 1, log=True)


def study_of(values, direction="maximize", states=None, attrs=None):
    study = optuna.create_study(direction=direction)
    for k, value in enumerate(values):
        state = states[k] if states else TrialState.COMPLETE
        study.add_trial(
            create_trial(
                value=None if state == TrialState.FAIL else value,  # Optuna gives pruned ones one
                state=state,
                params={"optimizer.lr": 0.01 * (k + 1)},
                distributions={"optimizer.lr": FLOAT},
                intermediate_values={1: value},
                user_attrs={"overrides": [f"optimizer.lr={0.01 * (k + 1)}"]},
            )
        )
    for key, value in (attrs or {}).items():
        study.set_user_attr(key, value)
    return study


def test_the_interval_is_students():
    """Four values 1, 2, 3, 4: mean 2.5, std 1.29, and t(3) = 3.182 times std / 2 to either side."""
    interval = Interval.of([1.0, 2.0, 3.0, 4.0])
    assert (interval.n, interval.mean) == (4, 2.5)
    assert interval.std == pytest.approx(math.sqrt(5 / 3))
    half = 3.182446 * math.sqrt(5 / 3) / 2
    assert (interval.low, interval.high) == pytest.approx((2.5 - half, 2.5 + half), rel=1e-6)


def test_one_value_has_no_interval():
    """A claim needs at least two seeds."""
    with pytest.raises(ValueError, match="got 1"):
        Interval.of([0.98])


def test_the_champion_is_the_best_on_validation_with_fresh_seeds_on_test():
    """Its overrides come with no validation set, the test set at the end, and other seeds."""
    search = champion_search(study_of([0.9, 0.95, 0.93]), seeds=5, first=1)
    assert search.overrides == ["optimizer.lr=0.02", "data.validation=0", "training.test=end"]
    assert search.params == {"training.seed": "range(1,1001)"}
    assert search.n_trials == 5
    assert search.suffix == "champion-1"
    assert search.metric == "test/accuracy"


def test_a_minimised_study_has_the_lowest_as_champion():
    """The direction counts, not the size."""
    search = champion_search(study_of([0.9, 0.95, 0.93], "minimize"), seeds=2, first=1)
    assert search.overrides[0] == "optimizer.lr=0.01"


def test_ties_are_within_the_noise_of_two_seeds():
    """With a standard deviation of 0.1 points over 5 seeds, 2.776 sqrt(2) 0.1 = 0.393 points."""
    study = study_of([0.9800, 0.9761, 0.9760, 0.90])
    noise = Interval.from_moments(5, 0.98, 0.001)
    line = near_ties(study, "validation/accuracy", noise)
    assert line == "trial 1 is within the noise of seeds (0.39%) of trial 0, the best"
    calm = Interval.from_moments(5, 0.98, 0.0001)
    assert near_ties(study, "validation/accuracy", calm).startswith("no other")


def test_a_loss_is_not_compared_with_the_spread_of_an_accuracy():
    """Of a metric whose spread over seeds was not measured, nothing is claimed."""
    noise = Interval.from_moments(5, 0.98, 0.001)
    line = near_ties(study_of([0.08, 0.0801], "minimize"), "validation/loss", noise)
    assert line == "near-ties are not named: the spread of validation/loss over seeds is not known"


def test_seeds_that_agree_give_no_interval_and_no_ties():
    """Two seeds at 97.10 % do not make "97.10 % to 97.10 %"."""
    accuracy = Interval.of([0.971, 0.971])
    assert not accuracy.known
    line = champion_line(accuracy)
    assert "97.10% with each of 2 seeds" in line
    assert "97.10% to" not in line
    assert "the champion's seeds agree" in near_ties(study_of([0.9, 0.9]), "x/accuracy", accuracy)


def test_ties_of_several_objectives_say_which_one_was_compared():
    """Only the first objective is compared, and the sentence says so."""
    study = optuna.create_study(directions=["minimize", "minimize"])
    for values in ([0.02, 9.0], [0.0201, 3.0]):
        study.add_trial(optuna.trial.create_trial(values=values))
    line = near_ties(study, "validation/error", Interval.from_moments(5, 0.98, 0.001))
    assert line.endswith("of trial 0, the best by validation/error, the first objective")


def test_a_champions_summary_is_mean_and_interval_over_its_seeds():
    """A study that follows another one is summed up over its complete trials alone."""
    states = [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    figures = summary(study_of([0.98, 0.5, 0.97], states=states, attrs={"follows": "x"}))
    assert figures["champion/seeds"] == 2
    assert figures["champion/test_accuracy_mean"] == pytest.approx(0.975)
    assert figures["champion/test_accuracy_ci95_high"] > 0.98


def test_a_searchs_summary_counts_its_trials():
    """How many ended how, and the best value."""
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE]
    figures = summary(study_of([0.9, 0.5, 0.4, 0.8], states=states))
    assert figures["best/value"] == 0.9
    assert [figures[f"trials/{s}"] for s in ("complete", "pruned", "fail")] == [2, 1, 1]


def test_the_figure_shows_every_trial_and_parameter():
    """Two frames, history and learning rate on a log axis; pruned trials are in them."""
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    study = study_of([0.9, 0.5, 0.95], states=states)
    history, rate = study_figure(study, "validation/accuracy").axes
    assert rate.get_xscale() == "log"
    assert [len(line.get_xdata()) for line in rate.get_lines()] == [1, 2]
    assert history.get_lines()[2].get_ydata().tolist() == [0.9, 0.9, 0.95]


def test_list_and_show_read_the_storage(tmp_path):
    """`study list` names every study below multirun, `study show NAME` its trials, best first."""
    words = ["+sweep=optuna", "tracking=none", "hydra.sweeper.n_trials=2", "study.champion_seeds=0"]
    small = ["training.epochs=1", "model.width=16", "engine=local", "pruner=none"]
    assert mnist_study(*words, *small, folder=tmp_path).returncode == 0
    listed = mnist_study("list", folder=tmp_path, module="mnist_study.study")
    assert listed.stdout.startswith("optuna: 2 complete")
    shown = mnist_study("show", "optuna", folder=tmp_path, module="mnist_study.study")
    assert len(shown.stdout.splitlines()) == 4
    missing = mnist_study("show", "other", folder=tmp_path, module="mnist_study.study")
    assert (missing.returncode, missing.stderr) == (2, "no study other in multirun/\n")
    assert dashboards_view(tmp_path / "multirun/optuna/study.journal") == [("optuna", 2)]


def dashboards_view(journal):
    """Studies and their numbers of trials, as optuna-dashboard serves them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [shutil.which("optuna-dashboard", path=Path(sys.executable).parent), str(journal)]
    with subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL) as dashboard:
        try:
            studies = ask(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
            pages = [f"http://127.0.0.1:{port}/api/studies/{s['study_id']}" for s in studies]
            return [
                (study["study_name"], len(ask(page)["trials"]))
                for study, page in zip(studies, pages, strict=True)
            ]
        finally:
            dashboard.terminate()


def ask(url):
    """A server's answer, once it has started."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)
