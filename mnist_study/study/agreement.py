"""Trial by trial, the runs of a study in MLflow are made to say what Optuna says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_study.config import TrackingConfig
from mnist_study.tracking.client import (
    client_for,
    ensure_experiment,
    log_to_run,
    search_runs,
    set_run_status,
)
from mnist_study.tracking.describe import Status

if TYPE_CHECKING:
    import optuna
    from mlflow.entities import Run
    from optuna.trial import FrozenTrial

# Tags of runs.
STUDY_ID = "study.id"  # an attribute of the study, too: studies of one name may share a store
STUDY = "study"  # the study's name
TRIAL = "optuna.trial_number"  # of a child run

FINAL = [f"{s}/{f}" for s in ("train", "validation", "test") for f in ("accuracy", "loss")]


def trial_tags(study: optuna.Study, number: int) -> dict[str, str]:
    """The tags of a trial's run."""
    tags = {STUDY: study.study_name, TRIAL: str(number)}
    study_id = study.user_attrs.get(STUDY_ID)
    return tags | ({STUDY_ID: study_id} if study_id else {})


def reconcile(
    settings: TrackingConfig, study: optuna.Study, parent: str, *, complete: bool = True
) -> None:
    """Put every run of the study below `parent`, with the status and reason of its trial.

    If all runs that there are have arrived (`complete`), a finished trial without one gets one: it
    failed before it had a run, or neither the store nor its folder has it. The run of a trial that
    another machine works on is left alone.
    """
    client = client_for(settings)
    found = search_runs(settings, {STUDY_ID: study.user_attrs[STUDY_ID]})
    runs = [run for run in found if run.data.tags.get("kind") != "study"]
    # Read after the runs: whatever has a run by now is a trial by now.
    trials = {str(trial.number): trial for trial in study.get_trials(deepcopy=False)}
    newest = {r.data.tags.get(TRIAL): r for r in sorted(runs, key=lambda r: r.info.start_time)}
    for run in runs:
        trial = trials.get(run.data.tags.get(TRIAL))
        if trial is None or newest[run.data.tags.get(TRIAL)] is not run:
            _detach(settings, run)
            continue
        if run.data.tags.get("mlflow.parentRunId") != parent:  # it began without one, say
            log_to_run(client, run.info.run_id, tags={"mlflow.parentRunId": parent})
        status, reason = _ending(trial)
        other = status == "FAILED" and run.data.tags.get("failure") != reason
        if trial.state.is_finished() and (other or status != run.info.status):
            set_run_status(settings, run.info.run_id, status, reason)
    for number, trial in trials.items():
        if complete and number not in newest and trial.state.is_finished():
            _create_placeholder(settings, study, trial, parent)


def _detach(settings: TrackingConfig, run: Run) -> None:
    """End a run of no trial: the study's journal was cut, and its number is another's now."""
    client = client_for(settings)
    for tag in {TRIAL, STUDY_ID, "mlflow.parentRunId"} & run.data.tags.keys():
        client.delete_tag(run.info.run_id, tag)
    set_run_status(settings, run.info.run_id, "FAILED", "its study has lost this trial")


def _create_placeholder(
    settings: TrackingConfig, study: optuna.Study, trial: FrozenTrial, parent: str
) -> None:
    """A run with what the study itself knows of a trial."""
    client, experiment = client_for(settings), ensure_experiment(settings)
    tags = trial_tags(study, trial.number) | {"mlflow.parentRunId": parent}
    run_id = client.create_run(experiment, None, tags, f"trial {trial.number}").info.run_id
    names = study.user_attrs.get("identity", {}).get("metric", [])
    values = trial.values if trial.state.name == "COMPLETE" else []
    keys = [f"final/{name.replace('/', '_')}" if name in FINAL else name for name in names]
    metrics = dict(zip(keys, values, strict=False))
    log_to_run(client, run_id, params=trial.params, metrics=metrics)
    set_run_status(settings, run_id, *_ending(trial))


def _ending(trial: FrozenTrial) -> tuple[Status, str | None]:
    """MLflow's status of a trial that is over, and the reason for it."""
    if trial.state.name == "COMPLETE":
        return "FINISHED", None
    if trial.state.name == "PRUNED":
        return "KILLED", "pruned"
    return "FAILED", str(trial.user_attrs.get("failure", "its worker stopped answering"))
