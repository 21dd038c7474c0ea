"""The university report, reproduced and answered on one page.

A study runs its experiments and their controls; `runs` reads them back from MLflow.
Each claim is tested by measures of these runs, with intervals over seeds.
The callback of `+sweep=report` and `python -m mnist_study.report` write the page.
"""

from mnist_study.report.page import write_page
from mnist_study.report.runs import ReportRuns, find_study, read_runs

__all__ = ["ReportRuns", "find_study", "read_runs", "write_page"]
