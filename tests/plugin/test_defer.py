"""A trial may defer the wait for some of its work, until the next trial defers its own."""

from __future__ import annotations

import pytest

from hydra_plugins.hydra_optuna_study import defer
from hydra_plugins.hydra_optuna_study._program import deferring


def test_outside_of_a_worker_nothing_is_deferred():
    """A task that runs by itself waits at once."""
    waited = []
    defer(lambda: waited.append("alone"))
    assert waited == ["alone"]


def test_the_work_of_one_trial_at_a_time_is_deferred():
    """The first is waited for when the second defers, the last before the worker ends."""
    waited = []
    with deferring():
        defer(lambda: waited.append(1))
        assert waited == []
        defer(lambda: waited.append(2))
        assert waited == [1]
    assert waited == [1, 2]


def test_a_worker_that_breaks_off_waits_too():
    """Also after an interruption all deferred work is waited for."""
    waited = []

    def interrupted():
        with deferring():
            defer(lambda: waited.append(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert waited == [1]
