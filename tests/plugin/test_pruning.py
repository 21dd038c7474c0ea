"""Which trials a pruner ends, in a study whose outcome can be worked out by hand."""

from __future__ import annotations

import statistics

import pytest
from optuna.trial import TrialState

from tests.plugin.sweeping import load, sweep

POINTS = (1, 1.5, 0.2, 2.1, -0.3, 2.5, -0.8, 2.9)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_exactly_the_trials_worse_than_the_median_are_pruned(tmp_path, direction):
    """One worker, every point once, in a random order: the median rule decides at step 0.

    The toy's value at a step is (x - 1)^2 + 1 + 1 / (step + 1), so the order of two trials is the
    same at each step, and a trial that survives step 0 completes.
    """
    sweep(
        tmp_path,
        f"hydra.sweeper.direction={direction}",
        "hydra.sweeper.sampler={_target_: optuna.samplers.GridSampler}",
        "hydra.sweeper.pruner={_target_: optuna.pruners.MedianPruner, n_startup_trials: 2}",
        "hydra.sweeper.n_trials=null",
        f"x=choice({','.join(map(str, POINTS))})",
        "depth=1",
    )
    trials = load(tmp_path).trials
    assert sorted(t.params["x"] for t in trials) == sorted(POINTS)
    completed: list[float] = []
    pruned = []
    for trial in trials:
        value = (trial.params["x"] - 1) ** 2 + 1
        assert trial.intermediate_values[0] == pytest.approx(value + 1)
        median = statistics.median(completed) if len(completed) >= 2 else value
        if value > median if direction == "minimize" else value < median:
            pruned.append(trial.number)
        else:
            completed.append(value)
    assert pruned
    assert [t.number for t in trials if t.state == TrialState.PRUNED] == pruned
    assert all(len(trials[number].intermediate_values) == 1 for number in pruned)
    assert sum(t.state == TrialState.COMPLETE for t in trials) == len(completed)
