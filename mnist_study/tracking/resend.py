"""Sending again: what a store could not take at the time, or a kill has left, run by run.

`python -m mnist_study.tracking send FOLDER` does it by hand; a study does it at its end.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_study.tracking.client import deliver
from mnist_study.tracking.outbox import RECORDS, Spool, spools
from mnist_study.tracking.store import store_uri


def deliver_left(folder: Path, uri: str) -> list[str]:
    """Send what a store that was away, or a kill, has left in and below `folder`.

    A run whose process died without a word becomes KILLED; one that is still going is left alone.
    Returns: what could not be sent, and why.
    """
    troubles = []
    for found in spools(folder):
        try:
            _send_left(found, uri)
        except BlockingIOError:
            continue  # its own process sends it
        except Exception as error:  # noqa: BLE001 - whatever the store says, the others are tried
            troubles.append(f"{found.parent}: {error}".splitlines()[0])
    return troubles


def _send_left(folder: Path, uri: str | None) -> tuple[int, str | None]:
    """Send the records of one run; how many, and the run's id. Raises: as Spool and deliver."""
    spool = Spool(folder)
    try:
        if spool.empty:
            return 0, None
        if not spool.complete:
            ended = round((folder / RECORDS).stat().st_mtime * 1000)
            spool.append({"tags": {"state": "killed", "reason": "its process died"}, "time": ended})
            spool.append({"end": "KILLED", "time": ended})
        waiting = len(spool.waiting)
        if waiting or not spool.run_id:
            deliver(spool, uri)
        return waiting, spool.run_id
    finally:
        spool.close()


def main(words: Sequence[str]) -> int:
    """`send FOLDER [URI]`: send the records in and below a folder; the exit code."""
    if len(words) not in (2, 3) or words[0] != "send":
        print("usage: python -m mnist_study.tracking send FOLDER [URI]", file=sys.stderr)
        return 2
    found = spools(Path(words[1]))
    if not found:
        print(f"FOLDER must hold the records of a run, {words[1]} has none", file=sys.stderr)
        return 2
    uri = store_uri(words[2]) if len(words) == 3 else None
    return max(_send_spool(folder, uri) for folder in found)


def _send_spool(folder: Path, uri: str | None) -> int:
    """Send one run and say so; a run whose process has died without a word becomes KILLED."""
    try:
        sent, run_id = _send_left(folder, uri)
    except BlockingIOError:
        print(f"{folder.parent}: still running, its own process sends it", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 - the other runs may be for another store
        print(f"{folder.parent}: {error}".splitlines()[0], file=sys.stderr)
        return 1
    print(f"{folder.parent}: {sent} records sent, run {run_id}")
    return 0
