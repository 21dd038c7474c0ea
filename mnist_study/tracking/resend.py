"""Resending of records that the store could not take at the time, or that a kill left behind."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_study.tracking.outbox import RECORDS, Outbox, find_outboxes
from mnist_study.tracking.store import store_uri
from mnist_study.tracking.uploader import upload


def resend(folder: Path, uri: str) -> list[str]:
    """Upload what waits in and below `folder`; a study does so at its end.

    A run whose process died without ending it becomes KILLED; a running one is left alone.
    Returns: an error for each run that could not be sent.
    """
    errors = []
    for found in find_outboxes(folder):
        try:
            _resend_run(found, uri)
        except BlockingIOError:
            continue  # its own process sends it
        except Exception as error:  # noqa: BLE001 - whatever the store says, the others are tried
            errors.append(f"{found.parent}: {error}".splitlines()[0])
    return errors


def _resend_run(folder: Path, uri: str | None) -> tuple[int, str | None]:
    """Upload one run's records; their number and the run's id. Raises: as Outbox and upload."""
    outbox = Outbox(folder)
    try:
        if outbox.empty:
            return 0, None
        if not outbox.complete:
            ended = round((folder / RECORDS).stat().st_mtime * 1000)
            tags = {"state": "killed", "reason": "its process died"}
            outbox.append({"tags": tags, "time": ended})
            outbox.append({"end": "KILLED", "time": ended})
        waiting = len(outbox.waiting)
        if waiting or not outbox.run_id:
            upload(outbox, uri)
        return waiting, outbox.run_id
    finally:
        outbox.close()


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
    return max(_print_resend(folder, uri) for folder in found)


def _print_resend(folder: Path, uri: str | None) -> int:
    """Send one run and print the outcome; the exit code."""
    try:
        sent, run_id = _resend_run(folder, uri)
    except BlockingIOError:
        print(f"{folder.parent}: still running, its own process sends it", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 - the other runs may be for another store
        print(f"{folder.parent}: {error}".splitlines()[0], file=sys.stderr)
        return 1
    print(f"{folder.parent}: {sent} records sent, run {run_id}")
    return 0
