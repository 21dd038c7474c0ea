"""A study in MLflow: a parent run, a child run per trial, all in agreement with Optuna."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_study.config import ConfigError, TrackingConfig
from mnist_study.study.champion import CHAMPION
from mnist_study.tracking.client import (
    children,
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

Ending = tuple[Status, str | None]  # MLflow's status, and the reason unless it is FINISHED
_log = logging.getLogger(__name__)


class StudyRuns:
    """The MLflow runs of a study and of its follow-up searches."""

    def __init__(self, settings: TrackingConfig) -> None:
        """Raises: ConfigError if the store can never be written."""
        self.uri = store_uri(settings.uri)
        try:
            check_store(self.uri)
        except ValueError as error:
            raise ConfigError(f"tracking.{error}") from error
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
            errors = self._close(study, folder, figures, files, status)
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
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in own.items())
        if found := client.search_runs([experiment], query, max_results=1):
            run_id = str(found[0].info.run_id)
            log_to_run(client, run_id, tags=tags)
            client.update_run(run_id, status="RUNNING")
            return run_id
        all_tags = git_tags() | dict(self.settings.tags) | dict(tags) | own
        name = self.settings.run_name or study_name
        return str(client.create_run(experiment, None, all_tags, name).info.run_id)

    def reparent(self, parent_id: str, study_id: str) -> None:
        """Put runs of the study below its own run that began without one or below a lost one."""
        for run in search_runs(self.settings, f"tags.`{STUDY_ID}` = '{study_id}'"):
            tags = run.data.tags
            if tags.get("mlflow.parentRunId") != parent_id and tags.get("kind") != "study":
                new = {"mlflow.parentRunId": parent_id}
                log_to_run(client_for(self.settings), run.info.run_id, tags=new)

    def reconcile(
        self, parent_id: str, ended: Mapping[int, Ending], running: Collection[int] = ()
    ) -> int:
        """Make the status of every child run agree with its trial's.

        Args:
            ended: trial number -> how it ended.
            running: numbers of trials that another machine works on; their runs are left alone.
        A run that is still RUNNING and belongs to neither becomes FAILED.
        Returns: the number of corrected runs.
        """
        corrected = 0
        for run in children(self.settings, parent_id):
            number = run.data.tags.get(TRIAL, "")
            if number.isdigit() and int(number) in running:
                continue
            expected = ended.get(int(number)) if number.isdigit() else None
            if expected is None and run.info.status == "RUNNING":
                expected = ("FAILED", "its process died")
            if expected is not None and run.info.status != expected[0]:
                set_run_status(self.settings, run.info.run_id, *expected)
                corrected += 1
        return corrected

    def create_placeholder(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Create a run for a trial that failed before it had one, say for lack of memory."""
        tags = {
            STUDY: study.study_name,
            STUDY_ID: study.user_attrs[STUDY_ID],
            TRIAL: str(trial.number),
            "mlflow.parentRunId": self.runs[study.study_name],
        }
        client, experiment = client_for(self.settings), ensure_experiment(self.settings)
        run = client.create_run(experiment, None, tags, f"trial {trial.number}")
        log_to_run(client, run.info.run_id, params=trial.params)
        set_run_status(self.settings, run.info.run_id, *_ending(trial))

    def _open(self, study: optuna.Study, *, closing: bool = False) -> None:
        attrs, store = study.user_attrs, without_passwords(self.uri)
        run_id = attrs.get(PARENT)
        path = database_path(store)
        # A database that exists still has the study's run; at the end of a search, ask it.
        trusted = attrs.get(STORE) == store and not closing and (path is None or path.exists())
        if run_id is not None and not trusted and not self._has_run(run_id):
            if attrs.get(STORE) != store:
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
        if attrs.get(STORE) != store and "***" not in store:  # a password is not written down
            study.set_user_attr(STORE, store)
        self.runs[study.study_name] = run_id

    def _has_run(self, run_id: str) -> bool:
        return bool(search_runs(self.settings, f"attributes.run_id = '{run_id}'"))

    def _close(
        self,
        study: optuna.Study,
        folder: Path,
        figures: Mapping[str, float],
        files: Mapping[str, Figure],
        status: Status,
    ) -> list[str]:
        self._open(study, closing=True)
        run_id = self.runs[study.study_name]
        errors = resend(folder, self.uri)
        trials = study.get_trials(deepcopy=False)
        ended = {t.number: _ending(t) for t in trials if t.state.is_finished()}
        self.reparent(run_id, study.user_attrs[STUDY_ID])
        self.reconcile(run_id, ended, {t.number for t in trials} - ended.keys())
        known = {run.data.tags.get(TRIAL) for run in children(self.settings, run_id)}
        for trial in trials:
            if trial.state.name == "FAIL" and str(trial.number) not in known:
                self.create_placeholder(study, trial)
        log_to_run(client_for(self.settings), run_id, metrics=figures, files=files)
        searched = self.runs.get(study.user_attrs.get("follows") or "")
        if searched and f"{CHAMPION}/seeds" in figures:  # the search's own run shows them, too
            log_to_run(client_for(self.settings), searched, metrics=figures)
        state = "interrupted" if status == "KILLED" else None  # a study is never pruned
        set_run_status(self.settings, run_id, status, state=state)
        return errors


def _ending(trial: optuna.trial.FrozenTrial) -> Ending:
    """The status and reason that MLflow gets for a finished trial."""
    if trial.state.name == "COMPLETE":
        return "FINISHED", None
    if trial.state.name == "PRUNED":
        return "KILLED", "pruned"
    return "FAILED", str(trial.user_attrs.get("failure", "its worker stopped answering"))


def _first_line(error: Exception) -> str:
    return without_passwords((str(error).splitlines() or [type(error).__name__])[0])
