"""Intervals over repeated runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Mean and spread of repeated runs that differ in nothing but their seed."""

    n: int
    mean: float
    std: float  # of single runs, n - 1 in the denominator
    low: float  # 95 % confidence interval of the mean; NaN where nothing is known of it
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Student's t interval (Student 1908); ValueError for fewer than two values."""
        if len(values) < 2:
            raise ValueError(f"an interval needs two values or more, got {len(values)}")
        return cls.from_moments(len(values), statistics.fmean(values), statistics.stdev(values))

    @classmethod
    def from_moments(cls, n: int, mean: float, std: float) -> Interval:
        """The interval of n values with this mean and standard deviation.

        Equal values have none: they are counted in steps, as an accuracy is in images, and that
        their spread is below one step does not make it 0.
        Source: Guide to the expression of uncertainty in measurement (JCGM 100:2008), F.2.2.1.
        """
        half = t_quantile(n) * std / n**0.5 if std else math.nan
        return cls(n, mean, std, mean - half, mean + half)

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)


def t_quantile(n: int) -> float:
    """How many estimated standard deviations hold 95 %, where n values gave the estimate."""
    from scipy.stats import t  # MLflow brings SciPy along

    return float(t.ppf(0.975, n - 1))
