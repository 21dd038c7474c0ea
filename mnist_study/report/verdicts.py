"""Verdicts on the report's claims and causes: what one consists of, and how each is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mnist_study.report.evidence import TooFew
from mnist_study.report.runs import ReportRuns

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be judged"


@dataclass(frozen=True)
class Finding:
    """What the runs say."""

    verdict: str
    rule: str  # how the verdict follows from the evidence
    evidence: Sequence[str]  # the measures with their intervals, a sentence each


@dataclass(frozen=True)
class Verdict:
    """A statement, and what the runs say of it."""

    statement: str
    finding: Finding


Question = Callable[[ReportRuns], Finding]  # its docstring is the statement


def judge(questions: Sequence[Question], runs: ReportRuns) -> list[Verdict]:
    """Ask every question; where runs are missing the verdict says which."""
    verdicts = []
    for question in questions:
        try:
            finding = question(runs)
        except TooFew as error:
            finding = Finding(f"{OPEN}: {error}", "", ())
        statement = " ".join((inspect.getdoc(question) or "").split())
        verdicts.append(Verdict(statement, finding))
    return verdicts


def by_gradient(report: bool, exact: bool) -> str:
    """A verdict on a claim that was tested with both gradients of the softmax."""
    return {
        (True, True): HOLDS,
        (True, False): "holds only with the report's gradient",
        (False, True): "holds only with the exact gradient",
        (False, False): FAILS,
    }[report, exact]
