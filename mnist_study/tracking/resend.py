"""Resending of records that the store could not take at the time, or that a kill left behind."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from mnist_study.tracking.outbox import RECORDS, Outbox, find_outboxes
from mnist_study.tracking.store import store_uri, without_passwords
from mnist_study.tracking.uploader import upload


def resend(folder: Path, uri: str) -> list[str]:
    """Upload what waits in and below `folder`; a study does so at its end.

    A run whose process died without ending it becomes KILLED; a running one is left alone.
    Returns: an error for each run that could not be sent.
    """
    outcomes = [_resend_run(found, uri) for found in find_outboxes(folder)]
    return [text for text, error in outcomes if error and not isinstance(error, BlockingIOError)]


def _resend_run(folder: Path, uri: str | None) -> tuple[str, Exception | None]:
    """Upload one run's records; the outcome in one line, and the error if that is one."""
    error = None
    try:
        with closing(Outbox(folder)) as outbox:
            sent = 0 if outbox.empty else _upload_rest(outbox, uri)
            text = f"{sent} records sent, run {outbox.run_id}"
    except Exception as why:  # noqa: BLE001 - whatever the store says, the other runs are tried
        text, error = without_passwords(str(why)), why
    return f"{folder.parent}: {text}".splitlines()[0], error


def _upload_rest(outbox: Outbox, uri: str | None) -> int:
    """Upload what waits of a run whose process is over; the number of records."""
    if not outbox.complete:
        ended = round((outbox.folder / RECORDS).stat().st_mtime * 1000)
        tags = {"state": "killed", "reason": "its process died"}
        outbox.append({"tags": tags, "time": ended})
        outbox.append({"end": "KILLED", "time": ended})
    waiting = len(outbox.waiting)
    if waiting or not outbox.run_id:
        upload(outbox, uri)
    return waiting


def main(words: Sequence[str]) -> int:
    """`send FOLDER [URI]`: send the records in and below a folder; the exit code."""
    if len(words) not in (2, 3) or words[0] != "send":
        print("usage: python -m mnist_study.tracking send FOLDER [URI]", file=sys.stderr)
        return 2
    found = find_outboxes(Path(words[1]))
    if not found:
        print(f"FOLDER must hold the records of a run, {words[1]} has none", file=sys.stderr)
        return 2
    uri = store_uri(words[2]) if len(words) == 3 else None
    code = 0
    for folder in found:
        text, error = _resend_run(folder, uri)
        print(text, file=sys.stderr if error else sys.stdout)
        code = 1 if error else code
    return code
