"""The university report, reproduced and answered.

A study runs its experiments and the controls of their causes; the runs are read back from MLflow.
Each claim is judged by measures of these runs with intervals over seeds, and one page says it all.
The callback of `+sweep=report` and `python -m mnist_study.report` both call `write_page`.
"""

from mnist_study.report.page import write_page
from mnist_study.report.runs import ReportRuns, find_study, read_runs

__all__ = ["ReportRuns", "find_study", "read_runs", "write_page"]
