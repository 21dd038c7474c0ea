"""Schedules: the factor of the base learning rate as a pure function of the step.

A maker is called with the run's lengths, which are known once the data is read, checks its own
numbers, and returns the function. ``training`` multiplies: ``lr = optimizer.lr * schedule(step)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Schedule = Callable[[int], float]  # step, 0 for the first -> factor of optimizer.lr


def constant(*, total_steps: int, epoch_steps: int) -> Schedule:
    """Factor 1 at every step."""
    return lambda step: 1.0


def linear(
    *,
    total_steps: int,
    epoch_steps: int,
    end_factor: float,
    tau: int | None,
    restart: Literal["epoch", "never"],
) -> Schedule:
    """Fall from 1 to `end_factor` at step `tau` in a straight line, then stay there.

        factor(t) = (1 - t / tau) + (t / tau) end_factor   for t < tau,   end_factor after

    Args:
        end_factor: the last factor; 0.01 in the report.
        tau: steps to get there; None: all steps of an epoch (restart "epoch") or of the run.
        restart: t counts the steps of an "epoch", a sawtooth as in the report, or of the whole run.
    Source: Goodfellow et al., Deep Learning (2016), eq. 8.14.
    """
    if not end_factor >= 0:
        raise ValueError(f"end_factor >= 0 must hold, got end_factor={end_factor}")
    if tau is not None and tau < 1:
        raise ValueError(f"tau >= 1 must hold, got tau={tau}")
    if restart not in ("epoch", "never"):
        raise ValueError(f"restart must be one of epoch, never, got {restart}")
    period = epoch_steps if restart == "epoch" else total_steps
    fall = tau if tau is not None else period

    def factor(step: int) -> float:
        progress = min((step % period) / fall, 1.0)
        return (1 - progress) + progress * end_factor

    return factor


def cosine(*, total_steps: int, epoch_steps: int, warmup: float, end_factor: float) -> Schedule:
    """Climb in a straight line to 1 over the warm-up, then fall along half a cosine.

    Args:
        warmup: length of the climb as a fraction of the run; 0 starts at 1.
        end_factor: the factor reached at the end of the run.
    Source: Loshchilov & Hutter (2017), SGDR, eq. 5, one period.
    """
    if not end_factor >= 0:
        raise ValueError(f"end_factor >= 0 must hold, got end_factor={end_factor}")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup in [0, 1) must hold, got warmup={warmup}")
    warmup_steps = int(warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = min((step - warmup_steps) / (total_steps - warmup_steps), 1.0)
        return end_factor + (1 - end_factor) * (1 + math.cos(math.pi * progress)) / 2

    return factor


def step_decay(
    *, total_steps: int, epoch_steps: int, factor: float, every_epochs: float
) -> Schedule:
    """Multiply by `factor` each time `every_epochs` epochs have passed."""
    if not factor > 0:
        raise ValueError(f"factor > 0 must hold, got factor={factor}")
    if not every_epochs > 0:
        raise ValueError(f"every_epochs > 0 must hold, got every_epochs={every_epochs}")
    base, period = factor, every_epochs * epoch_steps
    return lambda step: float(base ** int(step / period))
