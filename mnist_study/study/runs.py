"""A study in MLflow: a parent run, a child run per trial, all in agreement with Optuna."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_study.config import ConfigError, TrackingConfig
from mnist_study.study.champion import CHAMPION
from mnist_study.tracking.client import (
    client_for,
    ensure_experiment,
    log_to_run,
    search_runs,
    set_run_status,
)
from mnist_study.tracking.describe import Status, git_tags
from mnist_study.tracking.resend import resend
from mnist_study.tracking.store import check_store, database_path, store_uri, without_passwords

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

# Attributes of an Optuna study.
PARENT = "mlflow.run_id"  # its own run, the parent of its trials'
STORE = "mlflow.store"  # the address of the store that has it
STUDY_ID = "study.id"  # of its runs' tags, too: studies of one name may share a store

# Tags of runs.
TRIAL = "optuna.trial_number"  # of a child run
STUDY = "study"  # of parent and children: the study's name

_log = logging.getLogger(__name__)


class StudyRuns:
    """The MLflow runs of a study and of its follow-up searches."""

    def __init__(self, settings: TrackingConfig) -> None:
        """Raises: ConfigError if the store can never be written."""
        self.uri = store_uri(settings.uri)
        check_store(self.uri)
        self.settings = settings
        self.runs: dict[str, str] = {}  # study name -> id of its own run, once that is known

    def open(self, study: optuna.Study) -> None:
        """Find or create the study's run; `close` does it if the store does not answer now.

        One controller of a study at a time.
        Raises: ConfigError if the study is tracked in another store.
        """
        if STUDY_ID not in study.user_attrs:
            study.set_user_attr(STUDY_ID, secrets.token_hex(8))
        try:
            self._open(study)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - a search does not wait for its tracking
            why = _first_line(error)
            _log.warning("the study's run in MLflow is created at the end of the search: %s", why)

    def resume(self, study: optuna.Study) -> None:
        """Set the study's run back to RUNNING."""
        if run_id := self.runs.get(study.study_name):
            try:
                client_for(self.settings).update_run(run_id, status="RUNNING")
            except Exception as error:  # noqa: BLE001 - as above
                _log.info("MLflow does not answer: %s", error)

    def close(
        self,
        study: optuna.Study,
        folder: Path,
        figures: Mapping[str, float],
        files: Mapping[str, Figure],
        status: Status,
    ) -> bool:
        """Resend records left in `folder`, make every run agree with its trial, sum the study up.

        Args: figures, files: metrics and artifacts of the study's own run.
        Returns: whether everything has arrived; otherwise a warning gives the reason.
        """
        try:
            self._open(study, closing=True)
            errors = resend(folder, self.uri)
            self.reconcile(study)
            run_id = self.runs[study.study_name]
            log_to_run(client_for(self.settings), run_id, metrics=figures, files=files)
            searched = self.runs.get(study.user_attrs.get("follows") or "")
            if searched and f"{CHAMPION}/seeds" in figures:  # the search's own run shows them, too
                log_to_run(client_for(self.settings), searched, metrics=figures)
            state = "interrupted" if status == "KILLED" else None  # a study is never pruned
            set_run_status(self.settings, run_id, status, state=state)
        except Exception as error:  # noqa: BLE001 - tracking must not cost the search its result
            errors = [_first_line(error)]
        if errors:
            _log.warning(
                "MLflow has not received all of study %s (%s); the same command sends the rest",
                study.study_name,
                errors[0],
            )
        return not errors

    def create_parent(self, study_name: str, tags: Mapping[str, str], study_id: str = "") -> str:
        """Find the study's own run by its tags, or create it; RUNNING in both cases.

        One process at a time may call it for a study.
        Returns: the run's id.
        """
        client, experiment = client_for(self.settings), ensure_experiment(self.settings)
        own = {STUDY: study_name, "kind": "study"} | ({STUDY_ID: study_id} if study_id else {})
        if found := search_runs(self.settings, own):
            run_id = str(found[-1].info.run_id)
            log_to_run(client, run_id, tags=tags)
            client.update_run(run_id, status="RUNNING")
            return run_id
        all_tags = git_tags() | dict(self.settings.tags) | dict(tags) | own
        name = self.settings.run_name or study_name
        return str(client.create_run(experiment, None, all_tags, name).info.run_id)

    def reconcile(self, study: optuna.Study) -> None:
        """Put every run of the study below its own, with the status and reason of its trial.

        A trial that failed before it had a run, say for lack of memory, gets one. The run of a
        trial that another machine works on is left alone; one of no trial becomes FAILED.
        """
        client, parent = client_for(self.settings), self.runs[study.study_name]
        trials = {str(trial.number): trial for trial in study.get_trials(deepcopy=False)}
        without_run = {n: t for n, t in trials.items() if t.state.name == "FAIL"}
        for run in search_runs(self.settings, {STUDY_ID: study.user_attrs[STUDY_ID]}):
            run_id, tags = run.info.run_id, run.data.tags
            if tags.get("kind") == "study":
                continue
            if tags.get("mlflow.parentRunId") != parent:  # it began without one or below a lost one
                log_to_run(client, run_id, tags={"mlflow.parentRunId": parent})
            without_run.pop(tags.get(TRIAL), None)
            trial = trials.get(tags.get(TRIAL))
            over = trial.state.is_finished() if trial else run.info.status == "RUNNING"
            status, reason = _ending(trial)
            if over and status != run.info.status:
                set_run_status(self.settings, run_id, status, reason)
        for number, trial in without_run.items():
            tags = trial_tags(study, trial.number) | {"mlflow.parentRunId": parent}
            experiment = ensure_experiment(self.settings)
            run = client.create_run(experiment, None, tags, f"trial {number}")
            log_to_run(client, run.info.run_id, params=trial.params)
            set_run_status(self.settings, run.info.run_id, *_ending(trial))

    def _open(self, study: optuna.Study, *, closing: bool = False) -> None:
        attrs, store = study.user_attrs, without_passwords(self.uri)
        run_id, path = attrs.get(PARENT), database_path(store)
        same_store = attrs.get(STORE) == store
        # A database that exists still has the study's run; at the end of a search, ask it.
        trusted = same_store and not closing and (path is None or path.exists())
        own = {STUDY_ID: attrs[STUDY_ID], "kind": "study"}
        if run_id is not None and not trusted and not search_runs(self.settings, own):
            if not same_store:
                raise ConfigError(
                    f"tracking.uri must be where study {study.study_name} is tracked already, "
                    f"{attrs.get(STORE)}, got {store}"
                )
            run_id = None  # the store was emptied
        if run_id is None:
            parent_id = self.runs.get(attrs.get("follows") or "")
            tags = {"mlflow.parentRunId": parent_id} if parent_id else {}
            run_id = self.create_parent(study.study_name, tags, attrs[STUDY_ID])
            study.set_user_attr(PARENT, run_id)
        if not same_store and "***" not in store:  # a password is not written down
            study.set_user_attr(STORE, store)
        self.runs[study.study_name] = run_id


def trial_tags(study: optuna.Study, number: int) -> dict[str, str]:
    """The tags of a trial's run."""
    tags = {STUDY: study.study_name, TRIAL: str(number)}
    study_id = study.user_attrs.get(STUDY_ID)
    return tags | ({STUDY_ID: study_id} if study_id else {})


def _ending(trial: optuna.trial.FrozenTrial | None) -> tuple[Status, str | None]:
    """MLflow's status of a trial that is over (None: of one unknown), and the reason for it."""
    if trial is None:
        return "FAILED", "its process died"
    if trial.state.name == "COMPLETE":
        return "FINISHED", None
    if trial.state.name == "PRUNED":
        return "KILLED", "pruned"
    return "FAILED", str(trial.user_attrs.get("failure", "its worker stopped answering"))


def _first_line(error: Exception) -> str:
    return without_passwords((str(error).splitlines() or [type(error).__name__])[0])
