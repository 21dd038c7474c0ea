"""A search as a whole, around the trials that the sweeper runs.

`callback` reports epochs to the pruner and keeps the study's MLflow runs (`runs`) in agreement with
Optuna. At the end, `champion` trains the best configuration again and `figure` draws the search.
"""

from mnist_study.study.callback import (
    StudyTracking,
    child_tags,
    parent_run_id,
    reported,
    trial_tracking,
)

__all__ = ["StudyTracking", "child_tags", "parent_run_id", "reported", "trial_tracking"]
