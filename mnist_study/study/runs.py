"""A study in MLflow: a parent run, a child run per trial, all in agreement with Optuna."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_study.config import ConfigError, TrackingConfig
from mnist_study.study.agreement import STUDY, STUDY_ID, reconcile
from mnist_study.study.champion import CHAMPION
from mnist_study.tracking.client import (
    client_for,
    ensure_experiment,
    log_to_run,
    search_runs,
    set_run_status,
)
from mnist_study.tracking.describe import Status, git_tags
from mnist_study.tracking.resend import resend, waiting
from mnist_study.tracking.store import check_store, database_path, store_uri, without_passwords
from mnist_study.tracking.upload import Patience, send_command, within

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

# Attributes of an Optuna study.
PARENT = "mlflow.run_id"  # its own run, the parent of its trials'
STORE = "mlflow.store"  # the address of the store that has it

_log = logging.getLogger(__name__)


class StudyRuns:
    """The MLflow runs of a study and of its follow-up searches."""

    def __init__(self, settings: TrackingConfig) -> None:
        """Raises: ConfigError if the store can never be written."""
        self.uri = store_uri(settings.uri)
        check_store(self.uri)
        self.settings = settings
        self._patience = Patience(self.uri)
        self._opening = threading.Lock()
        self.runs: dict[str, str] = {}  # study name -> id of its own run, once that is known

    def open(self, study: optuna.Study) -> None:
        """Find or create the study's run; `close` does it if the store does not answer now.

        A slow server does it while the search goes on.

        One controller of a study at a time.
        Raises: ConfigError if the study is tracked in another store.
        """
        if STUDY_ID not in study.user_attrs:
            study.set_user_attr(STUDY_ID, secrets.token_hex(8))
        try:
            client_for(self.settings)  # the import is not the store's fault
            self._patience.briefly(lambda: self._open(study))
        except TimeoutError:
            _log.warning("MLflow is slow, the search does not wait for it")
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - a search does not wait for its tracking
            why = _first_line(error)
            _log.warning("the study's run in MLflow is created at the end of the search: %s", why)

    def resume(self, study: optuna.Study) -> None:
        """A trial runs: set the study's run back to RUNNING."""
        self._patience.searching = True
        if run_id := self.runs.get(study.study_name):
            try:
                client = client_for(self.settings)
                within(1.0, lambda: client.update_run(run_id, status="RUNNING"))
            except Exception as error:  # noqa: BLE001 - as above
                _log.info("MLflow does not answer: %s", error)

    def agree(self, study: optuna.Study, folder: Path) -> bool:
        """Resend records left in `folder`, and make every run agree with its trial.

        After a search a slow server is waited for a bounded time; a command that only does this
        has all the time that it takes.
        Returns: whether everything has arrived; otherwise a warning gives the reason.
        """

        def work() -> list[str]:
            self._open(study, closing=True)
            errors = resend(folder, self.uri)
            run_id = self.runs[study.study_name]
            reconcile(self.settings, study, run_id, complete=not errors)
            return errors

        return self._at_end(study, folder, work, large=waiting(folder, self.uri) > 0)

    def close(
        self,
        study: optuna.Study,
        folder: Path,
        figures: Mapping[str, float],
        files: Mapping[str, Figure],
        status: Status,
    ) -> bool:
        """Sum the study up in its own run, and end that.

        Args: figures, files: metrics and artifacts.
        Returns: as `agree`.
        """

        def work() -> list[str]:
            client, run_id = client_for(self.settings), self.runs[study.study_name]
            log_to_run(client, run_id, metrics=figures, files=files)
            searched = self.runs.get(study.user_attrs.get("follows") or "")
            if searched and f"{CHAMPION}/seeds" in figures:  # the search's own run shows them, too
                log_to_run(client, searched, metrics=figures)
            state = "interrupted" if status == "KILLED" else None  # a study is never pruned
            set_run_status(self.settings, run_id, status, state=state)
            return []

        return self._at_end(study, folder, work, large=False)

    def _at_end(
        self, study: optuna.Study, folder: Path, work: Callable[[], list[str]], *, large: bool
    ) -> bool:
        """Do the last work, which returns errors; warn of what has not arrived."""
        try:
            errors = self._patience.at_end(work, large=large)
        except Exception as error:  # noqa: BLE001 - tracking must not cost the search its result
            errors = [_first_line(error)]
        if errors:
            runs = waiting(folder, self.uri)
            rest = f"; {runs} runs wait on disk, send them with: {send_command(folder)}"
            _log.warning(
                "MLflow has not received all of study %s (%s)%s; the same command sends the rest",
                study.study_name,
                errors[0],
                rest if runs else "",
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

    def _open(self, study: optuna.Study, *, closing: bool = False) -> None:
        with self._opening:  # the search may have begun before this was done
            self._find_or_create(study, closing=closing)

    def _find_or_create(self, study: optuna.Study, *, closing: bool) -> None:
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


def _first_line(error: Exception) -> str:
    return without_passwords((str(error).splitlines() or [type(error).__name__])[0])
