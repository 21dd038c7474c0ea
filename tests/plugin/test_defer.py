"""A trial may leave something behind that goes on beside the next one, and no further."""

from __future__ import annotations

import pytest

from hydra_plugins.hydra_optuna_study._trial import leave_behind, nothing_left_behind


def test_outside_of_a_worker_nothing_is_left_behind():
    """A task that runs by itself waits at once."""
    waited = []
    leave_behind(lambda: waited.append("alone"))
    assert waited == ["alone"]


def test_one_trial_is_left_behind_at_a_time():
    """The first is waited for when the second leaves, the last before the worker ends."""
    waited = []
    with nothing_left_behind():
        leave_behind(lambda: waited.append(1))
        assert waited == []
        leave_behind(lambda: waited.append(2))
        assert waited == [1]
    assert waited == [1, 2]


def test_a_worker_that_breaks_off_waits_too():
    """Whatever ends the worker's day, an interruption say, nothing is left behind."""
    waited = []

    def interrupted():
        with nothing_left_behind():
            leave_behind(lambda: waited.append(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert waited == [1]
