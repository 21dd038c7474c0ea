"""A study in MLflow: one parent run, a child run a trial, and both agreeing with the study."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mnist_study.config import TrackingConfig
from mnist_study.study.mirror import STUDY_ID
from mnist_study.tracking.client import client_for, ensure_experiment, log_values
from mnist_study.tracking.record import git_tags
from mnist_study.tracking.tracker import Status, ending_tags

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow.entities import Run

TRIAL = "optuna.trial_number"  # tag of a child run
STUDY = "study"  # tag of parent and children: the study's name


def create_parent(
    settings: TrackingConfig, study_name: str, tags: Mapping[str, str], study_id: str = ""
) -> str:
    """The id of the study's own run, found by its tags or created; it is RUNNING again.

    One process at a time may call it for a study.
    """
    client, experiment = client_for(settings), ensure_experiment(settings)
    mine = {STUDY: study_name, "kind": "study"} | ({STUDY_ID: study_id} if study_id else {})
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in mine.items())
    found = client.search_runs([experiment], query, max_results=1)
    if found:
        run_id = str(found[0].info.run_id)
        log_values(client, run_id, tags=tags)
        client.update_run(run_id, status="RUNNING")
        return run_id
    all_tags = git_tags() | dict(settings.tags) | dict(tags) | mine
    name = settings.run_name or study_name
    return str(client.create_run(experiment, None, all_tags, name).info.run_id)


def has_run(settings: TrackingConfig, run_id: str) -> bool:
    """Whether the store has that run; raises what MLflow raises if the store does not answer."""
    client, experiment = client_for(settings), ensure_experiment(settings)
    query = f"attributes.run_id = '{run_id}'"
    return bool(client.search_runs([experiment], query, max_results=1))


def adopt(settings: TrackingConfig, parent_id: str, study_id: str) -> int:
    """Put below the study's run what began while that could not be made, or was lost; how many."""
    orphans = [
        run
        for run in _search(settings, f"tags.`{STUDY_ID}` = '{study_id}'")
        if run.data.tags.get("mlflow.parentRunId") != parent_id
        and run.data.tags.get("kind") != "study"
    ]
    for run in orphans:
        log_values(client_for(settings), run.info.run_id, tags={"mlflow.parentRunId": parent_id})
    return len(orphans)


def set_run_status(
    settings: TrackingConfig,
    run_id: str,
    status: Status,
    reason: str | None = None,
    state: str | None = None,
) -> None:
    """End a run with a status, and say why in its tag `failure` or `reason`.

    Args: state: its tag of that name, if not what the status means for a trial.
    """
    client = client_for(settings)
    log_values(client, run_id, tags=ending_tags(status, reason, state))
    client.set_terminated(run_id, status)


def reconcile(
    settings: TrackingConfig,
    parent_id: str,
    trials: Mapping[int, tuple[Status, str | None]],
    living: Collection[int] = (),
) -> int:
    """Make the status of every child run agree with its trial's; the number of corrections.

    Args: trials: number of each ended trial -> its status, and the reason unless it is FINISHED.
        living: numbers of trials that another machine works on; their runs are left alone.
    A child that is still RUNNING and is neither ends as FAILED.
    """
    corrected = 0
    for run in children(settings, parent_id):
        number = run.data.tags.get(TRIAL, "")
        if number.isdigit() and int(number) in living:
            continue
        expected = trials.get(int(number)) if number.isdigit() else None
        if expected is None and run.info.status == "RUNNING":
            expected = ("FAILED", "its process died")
        if expected is not None and run.info.status != expected[0]:
            set_run_status(settings, run.info.run_id, *expected)
            corrected += 1
    return corrected


def stand_in(
    settings: TrackingConfig,
    parent_id: str,
    number: int,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    ending: tuple[Status, str | None],
) -> None:
    """A run for a trial that failed before it had one: no network could be made, say."""
    client, experiment = client_for(settings), ensure_experiment(settings)
    all_tags = dict(tags) | {TRIAL: str(number), "mlflow.parentRunId": parent_id}
    run = client.create_run(experiment, None, all_tags, f"trial {number}")
    log_values(client, run.info.run_id, params=params)
    set_run_status(settings, run.info.run_id, *ending)


def children(settings: TrackingConfig, parent_id: str) -> list[Run]:
    """All runs below a parent run, oldest first."""
    return _search(settings, f"tags.`mlflow.parentRunId` = '{parent_id}'")


def _search(settings: TrackingConfig, query: str) -> list[Run]:
    client, experiment = client_for(settings), ensure_experiment(settings)
    found: list[Run] = []
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
