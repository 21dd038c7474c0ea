"""Intervals over repeated runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Mean and spread of repeated runs that differ in nothing but their seed."""

    n: int
    mean: float
    std: float  # of single runs, n - 1 in the denominator
    low: float  # 95 % confidence interval of the mean
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Student's t interval (Student 1908); ValueError for fewer than two values."""
        from scipy.stats import t  # MLflow brings SciPy along

        if len(values) < 2:
            raise ValueError(f"an interval needs two values or more, got {len(values)}")
        mean, std = statistics.fmean(values), statistics.stdev(values)
        half = float(t.ppf(0.975, len(values) - 1)) * std / len(values) ** 0.5
        return cls(len(values), mean, std, mean - half, mean + half)
