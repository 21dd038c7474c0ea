"""Runs in MLflow: the one module that imports it, and only when there is something to send."""

from __future__ import annotations

import functools
import gc
import math
import os
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

from mnist_study.config import TrackingConfig
from mnist_study.tracking.describe import Status, ending_tags
from mnist_study.tracking.figures import preload
from mnist_study.tracking.records import Record
from mnist_study.tracking.store import (
    database_path,
    first_use,
    partial_of,
    store_uri,
    without_passwords,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run

Client: TypeAlias = "MlflowClient"
StoredRun: TypeAlias = "Run"  # its `info` has id and status, its `data` params, tags and metrics

# MLflow's own defaults block a call on a dead server for four minutes; the uploader tries again.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # the uploader logs a store's errors, and tries again
    "GIT_PYTHON_REFRESH": "quiet",
}
_TOKEN = "mlflow.mnist_study.token"  # noqa: S105 - a tag, hidden by its prefix, no secret
_connecting = threading.Lock()


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause Python's `gc`, then exempt all that lives: scans of 150,000 objects cost 0.8 s."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@functools.cache
def connect(uri: str) -> Client:
    """MLflow's client for a store, which is created if it is missing. The import takes seconds."""
    with _connecting, gc_paused():
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        preload()  # for the end of the run: this thread has time now
        with first_use(uri):
            path = database_path(uri)
            if path and not (path.exists() and path.stat().st_size):
                _create_database(path)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    return client


def _create_database(path: Path) -> None:
    """Create the tables in a partial file: MLflow cannot repair a database killed half-made."""
    from mlflow import MlflowClient

    partial = partial_of(path)
    partial.unlink(missing_ok=True)
    uri = f"sqlite:///{partial}"
    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
    partial.replace(path)


@functools.cache
def experiment_id(uri: str, name: str) -> str:
    """The id of an experiment, created if there is none: one process at a time."""
    from mlflow.exceptions import MlflowException

    client, database = connect(uri), database_path(uri)
    # Beside the database, whatever the working directory is; a server has its own place.
    folder = re.sub(r"^\.+|[^\w\-. ]", "_", name)[:100]  # one, whatever the name is
    artifacts = str(database.parent / "mlruns" / folder) if database else None
    with first_use(uri):
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                client.create_experiment(name, artifact_location=artifacts)
            except MlflowException as error:  # another machine was faster
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def client_for(settings: TrackingConfig) -> Client:
    """MLflow's client for the store that `settings` names."""
    return connect(store_uri(settings.uri))


def ensure_experiment(settings: TrackingConfig) -> str:
    """Create database and experiment where they are missing; the experiment's id."""
    return experiment_id(store_uri(settings.uri), settings.experiment)


def create_run(uri: str, header: Record, again: bool) -> str:
    """Create the run that `header` describes, unless an earlier try has done so unnoticed."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    client, experiment = connect(uri), experiment_id(uri, header["experiment"])
    tags = header["tags"] | {_TOKEN: header["token"]}
    if header.get("parent") and without_passwords(uri) == header["uri"]:  # not a copy
        tags["mlflow.parentRunId"] = header["parent"]
    query = f"tags.`{_TOKEN}` = '{header['token']}'"
    found = client.search_runs([experiment], query, max_results=1) if again else []
    run = found[0] if found else client.create_run(experiment, header["time"], tags, header["name"])
    run_id = str(run.info.run_id)
    log_to_run(client, run_id, params=header["params"])
    use = [InputTag("mlflow.data.context", "training")]
    with first_use(uri):  # two processes that log the same new dataset at once break MLflow
        client.log_inputs(run_id, [DatasetInput(Dataset(**header["dataset"]), use)])
    return run_id


def log_points(client: Client, run_id: str, records: Sequence[Record]) -> None:
    """Log the metrics of many records, each at its own step and time, in one request."""
    from mlflow.entities import Metric

    points = [
        Metric(metric_key(key), value, record["time"], record["step"])
        for record in records
        for key, value in record["metrics"].items()
    ]
    client.log_batch(run_id, metrics=points)


def log_to_run(
    client: Client,
    run_id: str,
    *,
    metrics: Mapping[str, float] = {},
    params: Mapping[str, object] = {},
    tags: Mapping[str, str] = {},
    files: Mapping[str, bytes | Figure] = {},
) -> None:
    """Log to a run that exists: metrics, params and tags in one request, then the files.

    Args:
        metrics: at step 0; what is not finite is left out.
        params: their keys, and those of the metrics, are made acceptable.
        files: name at the artifact root -> content or a figure.
    """
    from mlflow.entities import Metric, Param, RunTag

    now = round(time.time() * 1000)
    finite = {metric_key(k): float(v) for k, v in metrics.items() if math.isfinite(v)}
    texts = {metric_key(k): str(v) for k, v in params.items()}
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, now, 0) for key, value in finite.items()],
        params=[Param(key, text) for key, text in texts.items()],
        tags=[RunTag(key, text) for key, text in tags.items()],
    )
    for name, content in files.items():
        with TemporaryDirectory() as folder:
            path = Path(folder) / name
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                content.savefig(path)
            client.log_artifact(run_id, str(path))


def metric_key(key: str) -> str:
    """`key` with the characters that MLflow does not accept replaced: `a[0]` becomes `a_0_`."""
    clean = re.sub(r"[^\w\-. /:]", "_", key)
    return re.sub(r"/+", "/", clean).strip("/")[:250] or "_"


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
    log_to_run(client, run_id, tags=ending_tags(status, reason, state))
    client.set_terminated(run_id, status)


def stored_ids(uri: str, run_ids: Collection[str]) -> set[str]:
    """Which of these runs the store has, in any experiment; deleted on a page of MLflow counts."""
    from mlflow.entities import ViewType

    client, wanted = connect(uri), sorted(run_ids)
    experiments = [e.experiment_id for e in client.search_experiments(ViewType.ALL)]
    found: set[str] = set()
    for first in range(0, len(wanted), 100):
        listed = ", ".join(f"'{run_id}'" for run_id in wanted[first : first + 100])
        query = f"attributes.run_id IN ({listed})"
        page = client.search_runs(experiments, query, ViewType.ALL, max_results=100)
        found |= {str(run.info.run_id) for run in page}
    return found


def children(settings: TrackingConfig, parent_id: str) -> list[StoredRun]:
    """All runs below a parent run, oldest first."""
    return search_runs(settings, {"mlflow.parentRunId": parent_id})


def search_runs(settings: TrackingConfig, tags: Mapping[str, str]) -> list[StoredRun]:
    """All runs of the experiment that have these tags, oldest first.

    A value with a quote, which MLflow's queries cannot hold reliably, is compared here.
    """
    client, experiment = client_for(settings), ensure_experiment(settings)
    plain = {key: value for key, value in tags.items() if not set(value) & set("'\"\\%")}
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in plain.items())
    order = ["attributes.start_time ASC"]
    page = client.search_runs([experiment], query, order_by=order)
    found = list(page)
    while page.token:
        page = client.search_runs([experiment], query, order_by=order, page_token=page.token)
        found += page
    return [run for run in found if tags.items() <= run.data.tags.items()]
