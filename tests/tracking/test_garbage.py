"""The garbage collector stays away from large imports, and comes back."""

from __future__ import annotations

import gc

import pytest

from mnist_study.tracking.garbage import uncollected
from tests.tracking.test_tracking import python


@pytest.fixture(autouse=True)
def _as_before():
    yield
    gc.enable()


def test_nothing_is_collected_within_and_all_again_after():
    """The collector rests inside the block, an error in it or not, and works afterwards."""
    states = []

    def failing() -> None:
        with uncollected():
            states.append(gc.isenabled())
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert [*states, gc.isenabled()] == [False, True]


def test_what_lives_at_the_end_is_never_gone_through_again():
    """The objects of the block are not among those that the collector looks at."""
    with uncollected():
        kept = [[number] for number in range(1000)]
    looked_at = {id(thing) for thing in gc.get_objects()}
    assert not looked_at & {id(one) for one in kept}


def test_a_collector_that_was_off_stays_off():
    """A program that has switched it off finds it so."""
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()


def test_mlflow_is_out_of_the_collectors_sight(tmp_path):
    """A tracked run's process collects little at its end: MLflow's objects are frozen."""
    code = (
        "import gc, pathlib\nfrom tests import tracked\n"
        "from mnist_study.tracking.client import ensure_experiment\n"
        f"ensure_experiment(tracked.settings('sqlite:///{tmp_path}/mlflow.db'))\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 5 * len(gc.get_objects())\n"
    )
    assert python(code).wait() == 0
