"""Agreement with what was measured of the report's recipe by other means, where that is cheap."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_limits

from mnist_study.nn.training import EpochEnded
from mnist_study.run import compose_run
from tests.composing import composed


@pytest.fixture(scope="module")
def costs():
    """Test cost of full-batch softmax at rate 0.5: gradient -> iteration -> nats."""
    costs = {"report": {}, "exact": {}}
    for gradient, cost in costs.items():
        overrides = ["experiment=softmax_full_050", "training.epochs=70"]
        run = compose_run(composed(*overrides, f"training.gradient={gradient}"))
        with threadpool_limits(1):  # cores that others use, too, make a second thread wait
            for event in run.events():
                if isinstance(event, EpochEnded):
                    cost[event.step] = event.scores["test"].loss
    return costs


def test_the_reports_cost_turns_where_it_was_seen_to(costs):
    """0.515 nats at iteration 50, of every fiftieth the least; then it rises."""
    report = costs["report"]
    assert report[50] == pytest.approx(0.515, abs=0.004)
    assert min(report, key=report.get) < 70
    assert report[70] > min(report.values())


def test_the_exact_gradients_cost_still_falls(costs):
    """Its last value is its smallest, and well below the report's."""
    exact = costs["exact"]
    assert min(exact, key=exact.get) == 70
    assert exact[70] < costs["report"][70] - 0.05
