"""What came out of a trial: its objective values, or the reason why there are none."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from hydra_plugins.hydra_optuna_study._config import Plan


class TrialFailed(Exception):  # noqa: N818  # reads as what it tells
    """The task ended, but not with a number that a study can use."""


def objective_values(plan: Plan, returned: Any) -> float | list[float]:
    """The values of the study's directions in what the task returned.

    Raises: TrialFailed if one is missing or not a finite number.
    """
    items = _items(plan, returned)
    n = len(plan.directions)
    if len(items) != n:
        raise TrialFailed(f"the task must return {n} numbers, got {len(items)}")
    try:
        values = [float(item) for item in items]
    except (TypeError, ValueError):
        raise TrialFailed(f"the task must return numbers, got {returned!r}") from None
    for name, value in zip(plan.metrics or ["value"] * n, values, strict=True):
        if not math.isfinite(value):
            raise TrialFailed(f"{name} is {value}")
    return values if n > 1 else values[0]


def _items(plan: Plan, returned: Any) -> list[Any]:
    if isinstance(returned, Mapping):
        if not plan.metrics:
            raise TrialFailed(f"hydra.sweeper.metric must name one of {', '.join(returned)}")
        for metric in plan.metrics:
            if metric not in returned:
                raise TrialFailed(f"hydra.sweeper.metric: no {metric} in {', '.join(returned)}")
        return [returned[metric] for metric in plan.metrics]
    return list(returned) if isinstance(returned, list | tuple) else [returned]


def explain(trial: optuna.Trial, error: Exception, folder: Path) -> None:
    """One line for the study; for a person, the traceback in the trial's folder."""
    line = " ".join(str(error).split())
    reason = line if isinstance(error, TrialFailed) else f"{type(error).__name__}: {line}"
    trial.set_user_attr("failure", reason)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failure.txt").write_text("".join(traceback.format_exception(error)))
    except OSError:
        return  # a full disk may be the very failure, and the study's line says so
