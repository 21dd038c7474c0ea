"""What a run leaves behind.

Everything is written into the run's own folder first; a thread uploads it to MLflow meanwhile.
"""

from mnist_study.tracking.client import open_tracker
from mnist_study.tracking.record import RunRecord
from mnist_study.tracking.tracker import Tracker

__all__ = ["RunRecord", "Tracker", "open_tracker"]
