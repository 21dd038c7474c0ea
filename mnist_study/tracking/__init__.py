"""A run's records: everything goes into the run's own folder first, and from there to MLflow.

`recorder` turns events, weights and curves into records of an `outbox` on disk, `uploader` sends
them from a thread, and `resend` sends later what a store could not take. Only `client` imports
MLflow, and only when there is something to send.
"""

from mnist_study.tracking.recorder import RunRecord
from mnist_study.tracking.tracker import Tracker, open_tracker

__all__ = ["RunRecord", "Tracker", "open_tracker"]
