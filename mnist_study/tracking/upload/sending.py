"""Sending the records of one run to a store; to send them twice is harmless."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from mnist_study.tracking.client import Client, connect, create_run, log_points, log_to_run
from mnist_study.tracking.images import png_of
from mnist_study.tracking.outbox import Outbox
from mnist_study.tracking.records import Record

CREATION = 6  # calls that create a run and describe it


def send_command(folder: Path) -> str:
    """What a person types to send the records in and below a folder."""
    return f"python -m mnist_study.tracking send {shlex.quote(str(folder))}"


def upload(outbox: Outbox, answered: Callable[[int], object] = lambda _: None) -> None:
    """Upload everything that waits in `outbox`, and mark what has arrived.

    Uploading twice is harmless: a run is found by its token, MLflow merges equal points of a
    metric, and files have fixed names.

    Args: answered: is told after a few calls how many the store has answered.
    Raises: what MLflow raises if it cannot; what had arrived by then is marked.
    """
    client = connect(outbox.uri)
    answered(0)  # the import took its time, and no store
    if outbox.run_id is None:
        again, outbox.fresh = not outbox.fresh, False
        outbox.mark(create_run(outbox.uri, outbox.header, again))
        answered(CREATION)
    run_id = str(outbox.run_id)
    for records in portions(outbox.waiting):
        _upload_portion(client, run_id, records, outbox.folder)
        outbox.mark(run_id, arrived=len(records))
        answered(_calls(records))


def calls_left(outbox: Outbox) -> int:
    """About how many calls of the store the rest of a run takes."""
    creation = 0 if outbox.run_id else CREATION
    return creation + sum(_calls(records) for records in portions(outbox.waiting))


def portions(records: Iterable[Record]) -> Iterator[list[Record]]:
    """What is sent at once: points that follow one another; else a record by itself."""
    for kind, group in groupby(records, key=_kind):
        if kind == "metrics":
            yield list(group)
        else:
            yield from ([record] for record in group)


def _kind(record: Record) -> str:
    return str(next(iter(record)))


def _calls(records: Sequence[Record]) -> int:
    return len(records[0].get("files", "1"))


def _upload_portion(client: Client, run_id: str, records: Sequence[Record], folder: Path) -> None:
    kind, record = _kind(records[0]), records[0]
    if kind == "metrics":
        log_points(client, run_id, records)
    elif kind == "tags":
        log_to_run(client, run_id, tags=record["tags"])
    elif kind == "end":
        client.set_terminated(run_id, record["end"], record["time"])
    elif kind == "artifact":
        _upload_file(client, run_id, folder / record["artifact"], None)
    else:
        for name in record["files"]:
            _upload_image(client, run_id, folder / name)


def _upload_image(client: Client, run_id: str, path: Path) -> None:
    """Upload an image; of the two files with the same pixels only the WebP stays."""
    twin = path.with_name(f"{path.stem}+compressed.webp")
    remade = path.suffix == ".png" and twin.exists()
    if remade and not path.exists():
        with suppress(OSError):  # a power cut has left half of it
            path.write_bytes(png_of(twin.read_bytes()))
    _upload_file(client, run_id, path, "images")
    if remade:
        path.unlink(missing_ok=True)


def _upload_file(client: Client, run_id: str, path: Path, folder: str | None) -> None:
    if path.exists():  # else a full disk did not take it
        client.log_artifact(run_id, str(path), folder)
