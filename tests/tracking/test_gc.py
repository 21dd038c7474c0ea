"""Garbage collection is paused during large imports, and resumed afterwards."""

from __future__ import annotations

import gc

import pytest

from mnist_study.tracking.client import gc_paused
from tests.tracked import python


@pytest.fixture(autouse=True)
def _as_before():
    yield
    gc.enable()


def test_nothing_is_collected_within_and_all_again_after():
    """Collection is off inside the block and on again after it, also after an error."""
    states = []

    def failing() -> None:
        with gc_paused():
            states.append(gc.isenabled())
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert [*states, gc.isenabled()] == [False, True]


def test_what_lives_at_the_end_is_never_scanned_again():
    """The collector does not scan the objects that the block has made."""
    with gc_paused():
        kept = [[number] for number in range(1000)]
    looked_at = {id(thing) for thing in gc.get_objects()}
    assert not looked_at & {id(one) for one in kept}


def test_a_collector_that_was_off_stays_off():
    """A program that has switched collection off finds it off."""
    gc.disable()
    with gc_paused():
        pass
    assert not gc.isenabled()


def test_mlflow_is_not_scanned(tmp_path):
    """A tracked run's process ends quickly: MLflow's objects are frozen."""
    code = (
        "import gc, pathlib\nfrom tests import tracked\n"
        "from mnist_study.tracking.client import ensure_experiment\n"
        f"ensure_experiment(tracked.settings('sqlite:///{tmp_path}/mlflow.db'))\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 5 * len(gc.get_objects())\n"
    )
    assert python(code).wait() == 0
