"""A study in MLflow: a parent run, a child run per trial, all in agreement with Optuna."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
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
from mnist_study.tracking.resend import resend, waiting
from mnist_study.tracking.store import check_store, database_path, store_uri, without_passwords
from mnist_study.tracking.upload import Patience, send_command, within

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure
    from mlflow.entities import Run
    from optuna.trial import FrozenTrial

# Attributes of an Optuna study.
PARENT = "mlflow.run_id"  # its own run, the parent of its trials'
STORE = "mlflow.store"  # the address of the store that has it
STUDY_ID = "study.id"  # of its runs' tags, too: studies of one name may share a store

# Tags of runs.
TRIAL = "optuna.trial_number"  # of a child run
STUDY = "study"  # of parent and children: the study's name

FINAL = [f"{s}/{f}" for s in ("train", "validation", "test") for f in ("accuracy", "loss")]

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
            self.reconcile(study, complete=not errors)
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
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in own.items())
        if found := client.search_runs([experiment], query, max_results=1):
            run_id = str(found[0].info.run_id)
            log_to_run(client, run_id, tags=tags)
            client.update_run(run_id, status="RUNNING")
            return run_id
        all_tags = git_tags() | dict(self.settings.tags) | dict(tags) | own
        name = self.settings.run_name or study_name
        return str(client.create_run(experiment, None, all_tags, name).info.run_id)

    def reconcile(self, study: optuna.Study, *, complete: bool = True) -> None:
        """Put every run of the study below its own, with the status and reason of its trial.

        If all runs that there are have arrived (`complete`), a finished trial without one gets one:
        it failed before it had a run, or neither the store nor its folder has it. The run of a
        trial that another machine works on is left alone.
        """
        client, parent = client_for(self.settings), self.runs[study.study_name]
        query = f"tags.`{STUDY_ID}` = '{study.user_attrs[STUDY_ID]}'"
        runs = [r for r in search_runs(self.settings, query) if r.data.tags.get("kind") != "study"]
        # Read after the runs: whatever has a run by now is a trial by now.
        trials = {str(trial.number): trial for trial in study.get_trials(deepcopy=False)}
        newest = {r.data.tags.get(TRIAL): r for r in sorted(runs, key=lambda r: r.info.start_time)}
        for run in runs:
            trial = trials.get(run.data.tags.get(TRIAL))
            if trial is None or newest[run.data.tags.get(TRIAL)] is not run:
                self._detach(run)
                continue
            if run.data.tags.get("mlflow.parentRunId") != parent:  # it began without one, say
                log_to_run(client, run.info.run_id, tags={"mlflow.parentRunId": parent})
            if trial.state.is_finished() and _ending(trial)[0] != run.info.status:
                set_run_status(self.settings, run.info.run_id, *_ending(trial))
        for number, trial in trials.items():
            if complete and number not in newest and trial.state.is_finished():
                self._create_placeholder(study, trial)

    def _detach(self, run: Run) -> None:
        """End a run of no trial: the study's journal was cut, and its number is another's now."""
        reason = "its study has lost this trial"
        client = client_for(self.settings)
        for tag in {TRIAL, STUDY_ID, "mlflow.parentRunId"} & run.data.tags.keys():
            client.delete_tag(run.info.run_id, tag)
        set_run_status(self.settings, run.info.run_id, "FAILED", reason)

    def _create_placeholder(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """A run with what the study itself knows of a trial."""
        client, experiment = client_for(self.settings), ensure_experiment(self.settings)
        tags = trial_tags(study, trial.number) | {"mlflow.parentRunId": self.runs[study.study_name]}
        run_id = client.create_run(experiment, None, tags, f"trial {trial.number}").info.run_id
        names = study.user_attrs.get("identity", {}).get("metric", [])
        values = trial.values if trial.state.name == "COMPLETE" else []
        named = [f"final/{n.replace('/', '_')}" if n in FINAL else n for n in names]
        metrics = dict(zip(named, values, strict=False))
        log_to_run(client, run_id, params=trial.params, metrics=metrics)
        set_run_status(self.settings, run_id, *_ending(trial))

    def _open(self, study: optuna.Study, *, closing: bool = False) -> None:
        with self._opening:  # the search may have begun before this was done
            self._find_or_create(study, closing=closing)

    def _find_or_create(self, study: optuna.Study, *, closing: bool) -> None:
        attrs, store = study.user_attrs, without_passwords(self.uri)
        run_id, path = attrs.get(PARENT), database_path(store)
        same_store = attrs.get(STORE) == store
        # A database that exists still has the study's run; at the end of a search, ask it.
        trusted = same_store and not closing and (path is None or path.exists())
        query = f"attributes.run_id = '{run_id}'"
        if run_id is not None and not trusted and not search_runs(self.settings, query):
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


def _ending(trial: FrozenTrial) -> tuple[Status, str | None]:
    """MLflow's status of a trial that is over, and the reason for it."""
    if trial.state.name == "COMPLETE":
        return "FINISHED", None
    if trial.state.name == "PRUNED":
        return "KILLED", "pruned"
    return "FAILED", str(trial.user_attrs.get("failure", "its worker stopped answering"))


def _first_line(error: Exception) -> str:
    return without_passwords((str(error).splitlines() or [type(error).__name__])[0])
