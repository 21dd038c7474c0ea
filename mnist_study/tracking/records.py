"""The files of an outbox: their names, how they are recognised, and how a line is read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mnist_study.tracking.store import without_passwords

FOLDER = "tracking"
RECORDS = "records.jsonl"
SENT = "sent.json"

Record = Mapping[str, Any]  # its first key says the kind: metrics, tags, image, artifact or end

# What the records of each kind must have to be sent; the header has no kind.
_FIELDS: Mapping[str, Mapping[str, type]] = {
    "metrics": {"metrics": dict, "time": int, "step": int},
    "tags": {"tags": dict},
    "image": {"image": str, "files": list},
    "artifact": {"artifact": str},
    "end": {"end": str, "time": int},
}
_HEADER = {
    "uri": str,
    "experiment": str,
    "name": str,
    "token": str,
    "time": int,
    "params": dict,
    "tags": dict,
    "dataset": dict,
}


class Damaged(ValueError):  # noqa: N818 - said of records
    """The first record cannot be read: nobody knows what run the others belong to."""


def store_key(uri: str) -> str:
    """The name of a store in `sent.json`."""
    return without_passwords(uri)


def read_sent(folder: Path) -> dict[str, dict[str, Any]]:
    """What has arrived, by store: `run_id`, `sent` and whether that is the `whole` run."""
    with suppress(OSError, ValueError, AttributeError):
        states = json.loads((folder / SENT).read_bytes())
        return {key: state for key, state in states.items() if isinstance(state, dict)}
    return {}


def store_of(folder: Path) -> str | None:
    """The store that a run was tracked to; None if its first record cannot be read."""
    with suppress(OSError), (folder / RECORDS).open("rb") as file:
        header = parse_record(file.readline(), header=True)
        return str(header["uri"]) if header else None
    return None


def find_outboxes(folder: Path) -> list[Path]:
    """The folders of records in and below `folder`: of a run, or of all runs of a study."""
    return sorted(path.parent for path in folder.rglob(RECORDS) if is_outbox(path))


def is_outbox(path: Path) -> bool:
    """Whether a file begins as records do, or lies in a folder as ours do and is damaged."""
    if path.parent.name.partition(".")[0] != FOLDER:  # `tracking.1` was set aside
        return False
    with path.open("rb") as file:
        return file.read(7) == b'{"uri":' or (path.parent / "images").is_dir()


def open_private(path: str, flags: int) -> int:
    """Open for nobody else to read, and through no link: the records name a server."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def parse_record(line: bytes, header: bool) -> Record | None:
    """A record, or None if a power cut, say, has damaged it."""
    try:
        record = json.loads(line)
        fields = _HEADER if header else _FIELDS[next(iter(record))]
        whole = all(isinstance(record[name], kind) for name, kind in fields.items())
    except (ValueError, KeyError, TypeError, StopIteration):
        return None
    return record if whole else None
