"""A study in MLflow: one parent run, a child run a trial, and both agreeing with the study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mnist_study.config import TrackingConfig
from mnist_study.record import git_tags
from mnist_study.tracker import Status, ending_tags
from mnist_study.tracking import client_for, ensure_experiment, log_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow.entities import Run

TRIAL = "optuna.trial_number"  # tag of a child run
STUDY = "study"  # tag of parent and children: the study's name


def create_parent(settings: TrackingConfig, study_name: str, tags: Mapping[str, str]) -> str:
    """The id of the study's own run, found by its tags or created; it is RUNNING again."""
    client, experiment = client_for(settings), ensure_experiment(settings)
    mine = {STUDY: study_name, "kind": "study"}
    query = " and ".join(f"tags.{key} = '{value}'" for key, value in mine.items())
    found = client.search_runs([experiment], query, max_results=1)
    if found:
        run_id = str(found[0].info.run_id)
        log_values(client, run_id, tags=tags)
        client.update_run(run_id, status="RUNNING")
        return run_id
    all_tags = git_tags() | dict(settings.tags) | dict(tags) | mine
    name = settings.run_name or study_name
    return str(client.create_run(experiment, None, all_tags, name).info.run_id)


def set_run_status(
    settings: TrackingConfig, run_id: str, status: Status, reason: str | None = None
) -> None:
    """End a run with a status, and say why in its tag `failure` or `reason`."""
    client = client_for(settings)
    log_values(client, run_id, tags=ending_tags(status, reason))
    client.set_terminated(run_id, status)


def reconcile(
    settings: TrackingConfig, parent_id: str, trials: Mapping[int, tuple[Status, str | None]]
) -> int:
    """Make the status of every child run agree with its trial's; the number of corrections.

    Args: trials: number of each ended trial -> its status, and the reason unless it is FINISHED.
    A child that is still RUNNING and is no trial of the study's ends as FAILED. Call this when no
    worker runs: it cannot tell a living trial from a dead one.
    """
    corrected = 0
    for run in children(settings, parent_id):
        number = run.data.tags.get(TRIAL, "")
        expected = trials.get(int(number)) if number.isdigit() else None
        if expected is None and run.info.status == "RUNNING":
            expected = ("FAILED", "its process died")
        if expected is not None and run.info.status != expected[0]:
            set_run_status(settings, run.info.run_id, *expected)
            corrected += 1
    return corrected


def children(settings: TrackingConfig, parent_id: str) -> list[Run]:
    """All runs below a parent run, oldest first."""
    client, experiment = client_for(settings), ensure_experiment(settings)
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment],
            f"tags.`mlflow.parentRunId` = '{parent_id}'",
            order_by=["attributes.start_time ASC"],
            page_token=token,
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
