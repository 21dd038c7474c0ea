"""Runs in MLflow: the one place that imports it, and only when there is something to send.

A run is recorded in its own folder first (`recorder`, `spool`); a thread (`courier`) brings the
records here. Sending is exact however often it is tried: a run is found by its token, equal points
of a metric are one point to MLflow, and files go under fixed names.

`python -m mnist_study.tracking send FOLDER` sends what a store could not take at the time.
"""

from __future__ import annotations

import functools
import math
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

from mnist_study.config import ConfigError, TrackingConfig
from mnist_study.tracking.figures import preload
from mnist_study.tracking.garbage import uncollected
from mnist_study.tracking.outbox import Record, Spool
from mnist_study.tracking.record import RunRecord
from mnist_study.tracking.recorder import Recorder
from mnist_study.tracking.store import check_store, database_path, first_use, how_to_open, store_uri
from mnist_study.tracking.tracker import NoTracker, RunTracker, Status, Tracker, ending_tags

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RunRecord", "Tracker", "open_tracker"]

StoredRun: TypeAlias = "Run"  # MLflow's: `info` (id, status), `data` (params, tags, metrics)

# MLflow's own defaults block a call on a dead server for four minutes; the courier tries again.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what a store refuses, the courier says and tries again
    "GIT_PYTHON_REFRESH": "quiet",
}
_TOKEN = "mlflow.mnist_study.token"  # noqa: S105 - a tag, hidden by its prefix, no secret
_connecting = threading.Lock()


def open_tracker(
    settings: TrackingConfig,
    record: RunRecord,
    leave: Callable[[Callable[[], None]], None] | None = None,
) -> Tracker:
    """A tracker for one run, used as a context; its first records are written.

    Args: leave: see `RunTracker`.
    Raises: ConfigError if the store can never be written.
    """
    if settings.backend == "none":
        return NoTracker()
    uri = store_uri(settings.uri)
    try:
        check_store(uri)
    except ValueError as error:
        raise ConfigError(f"tracking.{error}") from error
    recorder = Recorder(record, settings, uri)

    def where(spool: Spool) -> str:
        experiment = _experiment_id(uri, settings.experiment) if spool.run_id else None
        return how_to_open(uri, experiment, spool.run_id)

    return RunTracker(recorder, deliver, where, leave)


@functools.cache
def _client(uri: str) -> MlflowClient:
    """MLflow's client for a store, which exists from now on. Takes seconds the first time."""
    with _connecting, uncollected():
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        preload()
        with first_use(uri):
            path = database_path(uri)
            if path and not (path.exists() and path.stat().st_size):
                _create_database(path)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    return client


def _create_database(path: Path) -> None:
    """Whole or not at all: MLflow never recovers from a kill among its 60 steps to its tables."""
    from mlflow import MlflowClient

    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    uri = f"sqlite:///{partial}"
    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
    partial.replace(path)


@functools.cache
def _experiment_id(uri: str, name: str) -> str:
    """The id of an experiment, created if there is none: one process at a time."""
    from mlflow.exceptions import MlflowException

    client, database = _client(uri), database_path(uri)
    # Beside the database, whatever the working directory is; a server has its own place.
    artifacts = str(database.parent / "mlruns" / metric_key(name)) if database else None
    with first_use(uri):
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name, artifact_location=artifacts))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(name)  # another machine was faster
    assert found is not None
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def client_for(settings: TrackingConfig) -> MlflowClient:
    """MLflow's client for the store that `settings` names."""
    return _client(store_uri(settings.uri))


def ensure_experiment(settings: TrackingConfig) -> str:
    """Create database and experiment where they are missing; the experiment's id."""
    return _experiment_id(store_uri(settings.uri), settings.experiment)


def deliver(spool: Spool, uri: str | None = None) -> None:
    """Send everything that waits in `spool`, and mark what has arrived.

    Raises: what MLflow raises if it cannot; what had arrived by then is marked.
    """
    uri = uri or spool.header["uri"]
    client = _client(uri)
    run_id = spool.run_id
    if run_id is None:
        again = spool.attempted
        spool.mark(None)
        run_id = _create_run(uri, spool.header, again)
        spool.mark(run_id)
    for kind, group in groupby(spool.waiting, key=lambda record: next(iter(record))):
        records = list(group)
        _send(client, run_id, kind, records, spool.folder)
        spool.mark(run_id, arrived=len(records))


def _create_run(uri: str, header: Record, again: bool) -> str:
    """Create the run that `header` describes, unless an earlier try has done so unnoticed."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    client, experiment = _client(uri), _experiment_id(uri, header["experiment"])
    tags = header["tags"] | {_TOKEN: header["token"]}
    if header["parent"]:
        tags["mlflow.parentRunId"] = header["parent"]
    mine = f"tags.`{_TOKEN}` = '{header['token']}'"
    found = client.search_runs([experiment], mine, max_results=1) if again else []
    run = found[0] if found else client.create_run(experiment, header["time"], tags, header["name"])
    run_id = str(run.info.run_id)
    log_values(client, run_id, params=header["params"])
    use = [InputTag("mlflow.data.context", "training")]
    with first_use(uri):  # two processes with the same new dataset are too much for MLflow, too
        client.log_inputs(run_id, [DatasetInput(Dataset(**header["dataset"]), use)])
    return run_id


def _send(
    client: MlflowClient, run_id: str, kind: str, records: Sequence[Record], folder: Path
) -> None:
    """Send records of one kind."""
    if kind == "metrics":
        client.log_batch(run_id, metrics=_metrics(records))
    elif kind == "image":
        for name in (name for record in records for name in record["files"]):
            _send_file(client, run_id, folder / name, "images")
            (folder / name).unlink(missing_ok=True)  # many and large; they are in the store now
    for record in records:
        if kind == "artifact":
            _send_file(client, run_id, folder / record["artifact"], None)
        elif kind == "tags":
            log_values(client, run_id, tags=record["tags"])
        elif kind == "end":
            client.set_terminated(run_id, record["end"], record["time"])


def _send_file(client: MlflowClient, run_id: str, path: Path, folder: str | None) -> None:
    if path.exists():  # else it has arrived before, or a full disk did not take it
        client.log_artifact(run_id, str(path), folder)


def _metrics(records: Sequence[Record]) -> list[Any]:
    from mlflow.entities import Metric

    return [
        Metric(metric_key(key), value, record["time"], record["step"])
        for record in records
        for key, value in record["metrics"].items()
    ]


def log_values(
    client: MlflowClient,
    run_id: str,
    *,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
) -> None:
    """Log metrics (at step 0), params and tags, their keys made acceptable, in one request."""
    from mlflow.entities import Metric, Param, RunTag

    now = round(time.time() * 1000)
    points = [Metric(metric_key(k), float(v), now, 0) for k, v in (metrics or {}).items()]
    client.log_batch(
        run_id,
        metrics=[point for point in points if math.isfinite(point.value)],
        params=[Param(key, str(v)) for key, v in _unique(params).items()],
        tags=[RunTag(key, str(v)) for key, v in _unique(tags).items()],
    )


def metric_key(key: str) -> str:
    """`key` with what MLflow refuses in it replaced: `a[0]` becomes `a_0_`."""
    clean = re.sub(r"[^\w\-. /:]", "_", key)
    return re.sub(r"/+", "/", clean).strip("/")[:250] or "_"


def _unique(values: Mapping[str, object] | None) -> dict[str, object]:
    return {metric_key(key): value for key, value in (values or {}).items()}


def set_run_status(
    settings: TrackingConfig,
    run_id: str,
    status: Status,
    reason: str | None = None,
    state: str | None = None,
) -> None:
    """End a run with a status, and put the reason into its tag `failure` or `reason`.

    Args: state: the run's tag of that name; by default the trial state that the status stands for.
    """
    client = client_for(settings)
    log_values(client, run_id, tags=ending_tags(status, reason, state))
    client.set_terminated(run_id, status)


def children(settings: TrackingConfig, parent_id: str) -> list[StoredRun]:
    """All runs below a parent run, oldest first."""
    return search_runs(settings, f"tags.`mlflow.parentRunId` = '{parent_id}'")


def search_runs(settings: TrackingConfig, query: str) -> list[StoredRun]:
    """All runs of the experiment that match a query in MLflow's language, oldest first."""
    client, experiment = client_for(settings), ensure_experiment(settings)
    found: list[StoredRun] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment], query, order_by=["attributes.start_time ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def log_to_run(
    settings: TrackingConfig,
    run_id: str,
    *,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    files: Mapping[str, str | bytes | Figure] | None = None,
) -> None:
    """Log to a run that exists, such as a study's own.

    Args: metrics: at step 0; files: name at the artifact root -> text, bytes or a figure.
    """
    client = client_for(settings)
    log_values(client, run_id, metrics=metrics, params=params, tags=tags)
    with TemporaryDirectory() as folder:
        for name, content in (files or {}).items():
            path = Path(folder) / name
            if isinstance(content, str):
                path.write_text(content)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                content.savefig(path)
            client.log_artifact(run_id, str(path))
