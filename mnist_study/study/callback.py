"""What a study adds to its trials: reports to the pruner, MLflow runs, the champion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hydra_plugins.hydra_optuna_study import StudyCallback
from mnist_study.config import ConfigError, StudyConfig, TrackingConfig, TrainingConfig, section
from mnist_study.console import abort
from mnist_study.nn.training import EpochEnded, Event
from mnist_study.study.champion import (
    champion_accuracy,
    champion_line,
    champion_search,
    is_champion,
    near_ties,
    summary,
)
from mnist_study.study.figure import pareto_figure, study_figure
from mnist_study.study.runs import PARENT, STORE, StudyRuns, trial_tags

if TYPE_CHECKING:
    import optuna

    from hydra_plugins.hydra_optuna_study import FollowUp

SUMMED_UP = "mlflow.summed_up"  # attribute of an Optuna study: finished trials at the last sum


def reported(events: Iterator[Event], trial: optuna.Trial) -> Iterator[Event]:
    """Pass events on; report each epoch's validation score to the pruner, which may end the run.

    Raises: optuna.TrialPruned with epoch and score. Only a study of one validation metric prunes.
    """
    import optuna

    metric = str(HydraConfig.get().sweeper.metric)
    split, _, field = metric.partition("/")
    for event in events:
        if split == "validation" and isinstance(event, EpochEnded) and split in event.scores:
            score = event.scores[split]
            value = {"loss": score.loss, "error": 1 - score.accuracy}.get(field, score.accuracy)
            trial.report(value, step=event.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned(f"epoch {event.epoch}: {metric} {value:.4f}")
        yield event


def parent_run_id(trial: optuna.Trial | None) -> str | None:
    """The MLflow run of the study that `trial` belongs to, if it has one."""
    return trial.study.user_attrs.get(PARENT) if trial else None


def child_tags(trial: optuna.Trial | None) -> dict[str, str]:
    """The tags of a trial's run."""
    return trial_tags(trial.study, trial.number) if trial else {}


def trial_tracking(tracking: TrackingConfig, trial: optuna.Trial | None) -> TrackingConfig:
    """Trials use the study's tracking URI, whatever the worker's directory or host.

    A server's address is kept: it means the same everywhere.
    """
    store = trial.study.user_attrs.get(STORE) if trial else None
    if not store or (tracking.uri and not tracking.uri.startswith("sqlite")):
        return tracking
    return replace(tracking, uri=store)


class StudyTracking(StudyCallback):
    """The sweeper's callback: keeps the study's MLflow runs, and asks for the champion's runs."""

    def __init__(self) -> None:
        self.searched: optuna.Study | None = None  # the study whose champion is trained again
        self.settings: TrackingConfig | None = None  # None: not tracked
        self.runs: StudyRuns | None = None
        self.resumed: set[str] = set()

    def check(self, config: DictConfig) -> None:
        """Check the sections that every trial will read; SystemExit(2) after one sentence."""
        self.config = config
        metric = config.hydra.sweeper.metric
        self.metrics = [metric] if isinstance(metric, str) else list(metric or [])
        if not self.metrics:
            abort("hydra.sweeper.metric must name what the search improves, got metric=null")
        for name in self.metrics:
            if name.startswith("test/"):
                rule = "must not be measured on the test set: a search selects by validation"
                abort(f"hydra.sweeper.metric {rule}, got {name}")
        try:
            self.study_config = section(config, StudyConfig)
            self.training = section(config, TrainingConfig)
            tracking = section(config, TrackingConfig)
            if tracking.backend == "mlflow":
                self.settings = tracking
                self.runs = StudyRuns(tracking)
        except ConfigError as error:
            abort(str(error))

    def study_started(self, study: optuna.Study, config: DictConfig) -> None:  # noqa: ARG002 - the protocol has it
        """Open the study's run."""
        if not is_champion(study):
            self.searched = study
        try:
            if self.runs:
                self.runs.open(study)
        except ConfigError as error:
            abort(str(error))

    def trials_changed(self, study: optuna.Study) -> None:
        """Set the study's run back to RUNNING."""
        if self.runs and study.study_name not in self.resumed:
            self.resumed.add(study.study_name)
            self.runs.resume(study)

    def study_ended(self, study: optuna.Study, interrupted: bool) -> None:
        """Make MLflow agree with the study and sum it up, unless nothing has changed since."""
        finished = sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
        figures = summary(study)
        if self.searched and (accuracy := champion_accuracy(figures)):
            print(champion_line(accuracy))
            print(near_ties(self.searched, self.metrics[0], accuracy))
        if study.user_attrs.get(SUMMED_UP) == finished and not interrupted:
            return
        draw = pareto_figure if len(self.metrics) > 1 else study_figure
        arrived = self.runs is None or self.runs.close(
            study,
            Path(str(self.config.hydra.sweep.dir)).absolute(),
            figures,
            {"study.png": draw(study, *self.metrics)} if study is self.searched else {},
            "KILLED" if interrupted else "FINISHED",
        )
        if arrived and not interrupted:
            study.set_user_attr(SUMMED_UP, finished)

    def follow_up(self, study: optuna.Study) -> FollowUp | None:
        """Train the best configuration on train + validation with fresh seeds, scored on test."""
        seeds = self.study_config.champion_seeds
        if not seeds or is_champion(study) or not study.best_trials:
            return None
        return champion_search(study, seeds, first=self.training.seed + 1)
