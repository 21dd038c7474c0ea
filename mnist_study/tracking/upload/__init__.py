"""How records leave the disk: `sending` takes those of one run, `uploader` is a thread for all.

A process has one uploader, so that a slow store gets one call at a time and holds nobody up.
`patience` says how long an end waits; what has not arrived by then stays in the runs' folders.
"""

from mnist_study.tracking.upload.patience import Patience, within
from mnist_study.tracking.upload.sending import send_command, upload
from mnist_study.tracking.upload.uploader import UPLOADER

__all__ = ["UPLOADER", "Patience", "send_command", "upload", "within"]
