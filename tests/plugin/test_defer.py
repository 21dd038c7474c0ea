"""A trial may defer the wait for some of its work, until its worker ends."""

from __future__ import annotations

import pytest

from hydra_plugins.hydra_optuna_study import defer
from hydra_plugins.hydra_optuna_study._program import deferring


def test_outside_of_a_worker_nothing_is_deferred():
    """A task that runs by itself waits at once."""
    waited = []
    defer(lambda: waited.append("alone"))
    assert waited == ["alone"]


def test_no_trial_waits_for_the_work_of_another():
    """It is waited for before the worker ends; the same function, that of every trial, once."""
    waited = []

    def wait():
        waited.append(1)

    with deferring():
        defer(wait)
        defer(wait)
        assert waited == []
        defer(lambda: waited.append(2))
        assert waited == []
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
