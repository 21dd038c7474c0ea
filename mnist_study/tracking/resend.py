"""Resending: what a store could not take, what a kill left behind, what a store has lost."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from mnist_study.config import ConfigError
from mnist_study.tracking.client import stored_ids
from mnist_study.tracking.outbox import Outbox
from mnist_study.tracking.records import (
    RECORDS,
    Damaged,
    find_outboxes,
    read_sent,
    store_key,
    store_of,
)
from mnist_study.tracking.store import store_uri, with_password, without_passwords
from mnist_study.tracking.upload import UPLOADER, upload

REFUSALS = 3  # runs in a row that a store refuses before the others are left for later

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of one run's records."""

    folder: Path  # of the records
    text: str
    error: Exception | None = None  # why they wait
    refused: bool = False  # by the store; other errors are of the folder


def resend(folder: Path, uri: str, known: Collection[str] = ()) -> list[str]:
    """Send what waits in and below `folder`; a run that the store has lost is sent whole again.

    It is idempotent. A run whose process died without ending it becomes KILLED; one that another
    process works on is left alone, and one whose first record is damaged is only warned of.

    Args: known: ids of runs that the store is known to have; it is not asked for these.
    Returns: an error for each run that still waits.
    """
    UPLOADER.wait()  # what this process has in hand
    errors = []
    for outcome in _send_all(find_outboxes(folder), uri, known):
        if isinstance(outcome.error, Damaged):
            _log.warning(outcome.text)
        elif isinstance(outcome.error, BlockingIOError):
            errors += [outcome.text] if UPLOADER.holds(outcome.folder) else []
        elif outcome.error:
            errors.append(outcome.text)
    return errors


def waiting(folder: Path, uri: str) -> int:
    """Number of runs in and below `folder` that have not arrived in a store as a whole."""
    states = (read_sent(found).get(store_key(uri), {}) for found in find_outboxes(folder))
    return sum(not state.get("whole") for state in states)


def lost_runs(found: Sequence[Path], uri: str | None, known: Collection[str] = ()) -> set[Path]:
    """Which of these folders hold records that had arrived in a store that lacks the run now."""
    arrived: defaultdict[str, dict[Path, str]] = defaultdict(dict)
    for folder in found:
        store = uri or store_of(folder)
        run_id = read_sent(folder).get(store_key(store or ""), {}).get("run_id")
        if store and run_id and run_id not in known:
            with suppress(ConfigError):  # without its password the sending will say it
                arrived[with_password(store)][folder] = str(run_id)
    lost: set[Path] = set()
    for store, runs in arrived.items():
        try:
            there = stored_ids(store, runs.values())
        except Exception as error:  # noqa: BLE001 - whatever it is, the sending will say it
            _log.info("%s does not answer: %s", without_passwords(store), error)
            continue
        lost |= {folder for folder, run_id in runs.items() if run_id not in there}
    return lost


def _send_all(
    found: Sequence[Path], uri: str | None, known: Collection[str] = ()
) -> Iterator[Outcome]:
    """Send the records in each of these folders, to `uri` or where each run was tracked to.

    A store that refuses several runs in a row is not asked for the others.
    """
    lost = lost_runs(found, uri, known)
    if lost:
        _log.warning(
            "the store has lost %d runs: they are sent again from their folders", len(lost)
        )
    row = 0
    refusal: Exception | None = None
    for folder in found:
        if refusal is not None and row >= REFUSALS:
            yield Outcome(folder, _line(folder, refusal), refusal, refused=True)
            continue
        outcome = _send(folder, uri, again=folder in lost)
        if outcome.refused:
            row, refusal = row + 1, outcome.error
        elif outcome.error is None:
            row = 0
        yield outcome


def _send(folder: Path, uri: str | None, *, again: bool) -> Outcome:
    """Send one run's records, all of them if they are to be sent again."""
    try:
        store = with_password(uri or store_of(folder) or "")
    except ConfigError as error:
        return Outcome(folder, _line(folder, error), error)
    state = read_sent(folder).get(store_key(store), {})
    if state.get("whole") and not again:
        return Outcome(folder, _line(folder, f"0 records sent, run {state.get('run_id')}"))
    try:
        outbox = Outbox(folder, store)
    except (OSError, ValueError) as error:
        return Outcome(folder, _line(folder, error), error)
    with closing(outbox):
        if outbox.empty:
            return Outcome(folder, _line(folder, "0 records sent, there are none"))
        if again:
            outbox.forget()
        try:
            sent = _upload_rest(outbox)
        except Exception as error:  # noqa: BLE001 - whatever the store says, the other runs are tried
            return Outcome(folder, _line(folder, error), error, refused=True)
        return Outcome(folder, _line(folder, f"{sent} records sent, run {outbox.run_id}"))


def _upload_rest(outbox: Outbox) -> int:
    """Upload what waits of a run whose process is over; the number of records."""
    if not outbox.complete:
        ended = round((outbox.folder / RECORDS).stat().st_mtime * 1000)
        tags = {"state": "killed", "reason": "its process died"}
        outbox.append({"tags": tags, "time": ended})
        outbox.append({"end": "KILLED", "time": ended})
    waiting = len(outbox.waiting)
    upload(outbox)
    return waiting


def _line(folder: Path, what: object) -> str:
    first = (str(what).splitlines() or [type(what).__name__])[0]
    return f"{folder.parent}: {without_passwords(first)}"


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
    for outcome in _send_all(found, uri):
        print(outcome.text, file=sys.stderr if outcome.error else sys.stdout)
        code = 1 if outcome.error else code
    return code
