"""A study's own run in MLflow, kept in agreement with the Optuna study whatever came in between."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_study.config import ConfigError, TrackingConfig
from mnist_study.study.champion import CHAMPION
from mnist_study.tracking.record import without_passwords
from mnist_study.tracking.store import check_store, database_path, store_uri
from mnist_study.tracking.tracker import Status

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

# Attributes of an Optuna study.
PARENT = "mlflow.run_id"  # its own run, the parent of its trials'
STORE = "mlflow.store"  # the address of the store that has it
STUDY_ID = "study.id"  # of its runs' tags, too: studies of one name may share a store

_log = logging.getLogger(__name__)


class Mirror:
    """The MLflow runs of a study and of the searches that follow it."""

    def __init__(self, settings: TrackingConfig) -> None:
        """Raises: ConfigError if the store can never be written."""
        self.uri = store_uri(settings.uri)
        try:
            check_store(self.uri)
        except ValueError as error:
            raise ConfigError(f"tracking.{error}") from error
        self.settings = settings
        self.runs: dict[str, str] = {}  # study name -> its run, once that is known

    def open(self, study: optuna.Study) -> None:
        """Find or create the study's run; later, if the store does not answer.

        One controller of a study at a time.
        Raises: ConfigError if the store is not the study's.
        """
        if STUDY_ID not in study.user_attrs:
            study.set_user_attr(STUDY_ID, secrets.token_hex(8))
        try:
            self._open(study, without_passwords(self.uri))
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001  # a search does not wait for its tracking
            _log.warning("the study's own run in MLflow is made at its end: %s", _first_line(error))

    def resume(self, study: optuna.Study) -> None:
        """A run that had ended is RUNNING again."""
        from mnist_study.tracking.client import client_for

        if run_id := self.runs.get(study.study_name):
            try:
                client_for(self.settings).update_run(run_id, status="RUNNING")
            except Exception as error:  # noqa: BLE001  # as above
                _log.info("tracking waits: %s", error)

    def close(
        self,
        study: optuna.Study,
        folder: Path,
        figures: Mapping[str, float],
        files: Mapping[str, Figure],
        status: Status,
    ) -> bool:
        """Send what is left in `folder`, make every run agree with its trial, sum the study up.

        Returns: whether all of it has arrived; a warning has said why not.
        """
        try:
            troubles = self._close(study, folder, figures, files, status)
        except Exception as error:  # noqa: BLE001  # what was found must not be lost with its tracking
            troubles = [_first_line(error)]
        if troubles:
            _log.warning(
                "not all of study %s is in MLflow (%s); the same command sends the rest",
                study.study_name,
                troubles[0],
            )
        return not troubles

    def _open(self, study: optuna.Study, store: str, *, closing: bool = False) -> None:
        from mnist_study.study.study_runs import create_parent, has_run

        attrs = study.user_attrs
        run_id = attrs.get(PARENT)
        path = database_path(store)
        sure = attrs.get(STORE) == store and not closing and (path is None or path.exists())
        if run_id is not None and not sure and not has_run(self.settings, run_id):
            if attrs.get(STORE) != store:
                raise ConfigError(
                    f"tracking.uri must be where study {study.study_name} is tracked already, "
                    f"{attrs.get(STORE)}, got {store}"
                )
            run_id = None  # the store was emptied
        if run_id is None:
            follows = self.runs.get(attrs.get("follows") or "")
            tags = {"mlflow.parentRunId": follows} if follows else {}
            run_id = create_parent(self.settings, study.study_name, tags, attrs[STUDY_ID])
            study.set_user_attr(PARENT, run_id)
        if attrs.get(STORE) != store and "***" not in store:  # a password is not written down
            study.set_user_attr(STORE, store)
        self.runs[study.study_name] = run_id

    def _close(
        self,
        study: optuna.Study,
        folder: Path,
        figures: Mapping[str, float],
        files: Mapping[str, Figure],
        status: Status,
    ) -> list[str]:
        from mnist_study.study.study_runs import (
            TRIAL,
            adopt,
            children,
            log_to_run,
            reconcile,
            set_run_status,
            stand_in,
        )
        from mnist_study.tracking.resend import deliver_left

        self._open(study, without_passwords(self.uri), closing=True)
        run_id = self.runs[study.study_name]
        troubles = deliver_left(folder, self.uri)
        trials = study.get_trials(deepcopy=False)
        ended = {t.number: trial_status(t) for t in trials if t.state.is_finished()}
        adopt(self.settings, run_id, study.user_attrs[STUDY_ID])
        living = {t.number for t in trials} - ended.keys()
        reconcile(self.settings, run_id, ended, living)
        known = {run.data.tags.get(TRIAL) for run in children(self.settings, run_id)}
        for trial in trials:
            if trial.state.name == "FAIL" and str(trial.number) not in known:
                tags = {"study": study.study_name, STUDY_ID: study.user_attrs[STUDY_ID]}
                stand_in(
                    self.settings, run_id, trial.number, trial.params, tags, ended[trial.number]
                )
        log_to_run(self.settings, run_id, metrics=figures)
        follows = self.runs.get(study.user_attrs.get("follows") or "")
        if follows and f"{CHAMPION}/seeds" in figures:  # the study of the search has them, too
            log_to_run(self.settings, follows, metrics=figures)
        log_to_run(self.settings, run_id, files=files)
        state = "interrupted" if status == "KILLED" else None  # a study is never pruned
        set_run_status(self.settings, run_id, status, state=state)
        return troubles


def trial_status(trial: optuna.trial.FrozenTrial) -> tuple[Status, str | None]:
    """What MLflow is to say of an ended trial."""
    if trial.state.name == "COMPLETE":
        return "FINISHED", None
    if trial.state.name == "PRUNED":
        return "KILLED", "pruned"
    return "FAILED", str(trial.user_attrs.get("failure", "its worker stopped answering"))


def _first_line(error: Exception) -> str:
    return without_passwords((str(error).splitlines() or [type(error).__name__])[0])
