"""Schedules as whole curves, against numbers worked by hand."""

from __future__ import annotations

import pytest

from mnist_study.nn.schedules import constant, cosine, linear, step_decay

RUN = {"total_steps": 20, "epoch_steps": 10}


def curve(schedule, steps):
    return [schedule(step) for step in steps]


def test_constant_is_one():
    """The base rate stands at every step."""
    assert curve(constant(**RUN), range(20)) == [1.0] * 20


def test_linear_falls_once_over_the_run():
    """From 1 at step 0 to 0.5 at step 20: a fortieth a step."""
    schedule = linear(**RUN, end_factor=0.5, tau=None, restart="never")
    assert curve(schedule, [0, 1, 10, 19]) == pytest.approx([1, 0.975, 0.75, 0.525])


def test_linear_stays_at_its_end_after_tau():
    """tau = 4: down to 0.01 by step 4 and there it stays, as the report's text says."""
    schedule = linear(**RUN, end_factor=0.01, tau=4, restart="never")
    expected = [1, 0.7525, 0.505, 0.2575, 0.01, 0.01, 0.01]
    assert curve(schedule, [0, 1, 2, 3, 4, 5, 19]) == pytest.approx(expected)


def test_linear_restarts_each_epoch_as_the_report_did():
    """A sawtooth: steps 10 to 19 repeat 0 to 9, with 5 flat steps at the end of each epoch."""
    schedule = linear(**RUN, end_factor=0.01, tau=5, restart="epoch")
    assert curve(schedule, range(10)) == curve(schedule, range(10, 20))
    assert curve(schedule, [0, 5, 9, 10]) == pytest.approx([1, 0.01, 0.01, 1])


def test_cosine_warms_up_and_falls_to_its_end():
    """Warm-up of 3 steps: 1/4, 2/4, 3/4, then 1 at step 3; half way down at step 11.5; 0 at 20."""
    schedule = cosine(**RUN, warmup=0.15, end_factor=0.0)
    assert curve(schedule, range(4)) == pytest.approx([0.25, 0.5, 0.75, 1])
    assert (schedule(11) + schedule(12)) / 2 == pytest.approx(0.5)
    assert schedule(20) == pytest.approx(0)


def test_cosine_ends_at_its_end_factor():
    """end_factor 0.2: half way it stands at 0.6."""
    schedule = cosine(**RUN, warmup=0, end_factor=0.2)
    assert curve(schedule, [0, 10, 20]) == pytest.approx([1, 0.6, 0.2])


def test_step_decay_falls_every_so_many_epochs():
    """Half every half epoch of ten steps."""
    schedule = step_decay(**RUN, factor=0.5, every_epochs=0.5)
    assert curve(schedule, [0, 4, 5, 9, 10, 15]) == [1, 1, 0.5, 0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: linear(**RUN, end_factor=-1, tau=None, restart="never"), "end_factor"),
        (lambda: linear(**RUN, end_factor=0, tau=0, restart="never"), "tau"),
        (lambda: linear(**RUN, end_factor=0, tau=None, restart="sometimes"), "restart"),
        (lambda: cosine(**RUN, warmup=1, end_factor=0), "warmup"),
        (lambda: cosine(**RUN, warmup=-0.1, end_factor=0), "warmup"),
        (lambda: step_decay(**RUN, factor=0, every_epochs=1), "factor"),
        (lambda: step_decay(**RUN, factor=0.5, every_epochs=0), "every_epochs"),
    ],
)
def test_a_bad_number_is_refused_by_name(make, key):
    """Rule first, then the fact, beginning with the argument's name."""
    with pytest.raises(ValueError, match=f"^{key} .*, got "):
        make()
