"""Long curves: the store gets one of so many points, a file of the run all of them."""

from __future__ import annotations

import pytest

from mnist_study.report.runs import Cell, ReportRuns, TrackedRun
from mnist_study.tracking import open_tracker
from mnist_study.tracking.client import client_for
from mnist_study.tracking.recorder import CURVES, STORE_POINTS, THINNED
from tests import tracked

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
POINTS = 2 * STORE_POINTS + 1  # so the store gets every third


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Settings and id of a made-up run with a long curve."""
    folder = tmp_path_factory.mktemp("long")
    settings = tracked.settings(f"sqlite:///{folder / 'mlflow.db'}")
    with open_tracker(settings, tracked.record(folder / "run", points=POINTS)) as tracker:
        for _ in tracker.follow(tracked.events(POINTS, epoch=50)):
            pass
    return settings, tracker.run_id


def test_the_store_gets_one_of_so_many_points(run):
    """Equally spaced ones; an epoch's means all arrive."""
    client = client_for(run[0])
    steps = [point.step for point in client.get_metric_history(run[1], "train/loss")]
    assert steps == list(range(15, 5 * POINTS + 1, 15))
    assert len(client.get_metric_history(run[1], "train/loss_epoch")) == POINTS // 10


def test_a_thinned_run_says_so(run):
    """The tag names the share and the file."""
    assert client_for(run[0]).get_run(run[1]).data.tags[THINNED] == (
        f"one of 3 points, all of them in {CURVES}"
    )


def test_the_report_reads_every_point(run):
    """Steps and values as they happened."""
    known = TrackedRun(run[1], Cell("x", "exact"), 0, "", {}, 1, thinned=True)
    curve = ReportRuns(run[0]).history(known, "validation/loss")
    expected = [tracked.scores(5 * k, "train", "validation")["validation"].loss
                for k in range(1, POINTS + 1)]  # fmt: skip
    assert list(curve.steps) == list(range(5, 5 * POINTS + 1, 5))
    assert list(curve.values) == expected
    assert not len(ReportRuns(run[0]).history(known, "no/metric").steps)


def test_a_short_curve_is_sent_whole(tmp_path):
    """A thousand points are no burden."""
    strides = [tracked.record(tmp_path, points=n).stride for n in (0, 1, 1000, 1001, 24_000)]
    assert strides == [1, 1, 1, 2, 24]
