"""What a study adds to its trials: reports to the pruner, MLflow runs, the champion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_optuna_study import StudyCallback
from mnist_study.config import ConfigError, StudyConfig, TrackingConfig, TrainingConfig, section
from mnist_study.console import abort, did_you_mean
from mnist_study.nn.training import EpochEnded, Event, Finished
from mnist_study.run import compose_run, scaled
from mnist_study.study.agreement import trial_tags
from mnist_study.study.champion import (
    champion_accuracy,
    champion_line,
    champion_search,
    is_champion,
    near_ties,
    summary,
)
from mnist_study.study.figure import pareto_figure, study_figure
from mnist_study.study.runs import PARENT, STORE, StudyRuns
from mnist_study.tracking.describe import Status

if TYPE_CHECKING:
    import optuna

    from hydra_plugins.hydra_optuna_study import FollowUp

SUMMED_UP = "mlflow.summed_up"  # attribute of an Optuna study: finished trials and run, then


def reported(events: Iterator[Event], trial: optuna.Trial) -> Iterator[Event]:
    """Pass events on; report each epoch's validation score to the pruner, which may end the run.

    Raises: optuna.TrialPruned with epoch and score. Only a study of one validation metric prunes.
        UpdateFinishedTrialError, before the run is ended, if the study has taken this worker for
        dead: another one has the trial now.
    """
    import optuna

    metric = str(HydraConfig.get().sweeper.metric)
    split, _, field = metric.partition("/")
    for event in events:
        if isinstance(event, EpochEnded):
            value = None
            if split == "validation" and split in event.scores:
                score = event.scores[split]
                value = {"loss": score.loss, "error": 1 - score.accuracy}.get(field, score.accuracy)
                trial.report(value, step=event.epoch)
            if trial.should_prune():  # asked in any case: it also obeys a request to stop
                raise optuna.TrialPruned(f"epoch {event.epoch}: {metric} {value:.4f}")
        elif isinstance(event, Finished):
            trial.set_user_attr("train_seconds", event.train_seconds)
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
            _check_metric(name, validation=OmegaConf.select(config, "data.validation"))
        try:
            self.study_config = section(config, StudyConfig)
            self.training = section(config, TrainingConfig)
            tracking = section(config, TrackingConfig)
            if tracking.backend == "mlflow":
                self.settings = tracking
                self.runs = StudyRuns(tracking)
        except ConfigError as error:
            abort(str(error))

    def check_point(self, config: DictConfig) -> None:
        """Read the data and build what one point of the space needs; SystemExit(2) as above."""
        try:
            compose_run(scaled(config))
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
        """Make MLflow agree with the study, and sum it up if anything has changed since."""
        figures = summary(study)
        if self.searched and (accuracy := champion_accuracy(figures)):
            print(champion_line(accuracy))
            print(near_ties(self.searched, self.metrics[0], accuracy))
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        arrived = self.runs is None or self.runs.agree(study, folder)
        finished = sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
        now = [finished, study.user_attrs.get(PARENT)]
        if study.user_attrs.get(SUMMED_UP) == now and not interrupted:
            return
        if self.runs is not None and arrived:
            draw = pareto_figure if len(self.metrics) > 1 else study_figure
            pictures = {"study.png": draw(study, *self.metrics)} if study is self.searched else {}
            status: Status = "KILLED" if interrupted else "FINISHED"
            arrived = self.runs.close(study, folder, figures, pictures, status)
        if arrived and not interrupted:
            study.set_user_attr(SUMMED_UP, now)

    def follow_up(self, study: optuna.Study) -> FollowUp | None:
        """Train the best configuration on train + validation with fresh seeds, scored on test."""
        seeds = self.study_config.champion_seeds
        if not seeds or is_champion(study) or not study.best_trials:
            return None
        return champion_search(study, seeds, first=self.training.seed + 1)


def _check_metric(name: str, validation: int | None) -> None:
    """SystemExit(2) unless every trial will have this figure, and a search may select by it."""
    splits, fields = ("train", "validation"), ("accuracy", "error", "loss")
    known = [f"{s}/{f}" for s in splits for f in fields] + ["time/train_seconds", "parameters"]
    if name.startswith("test/"):
        rule = "must not be measured on the test set: a search selects by validation"
        abort(f"hydra.sweeper.metric {rule}, got {name}")
    if name not in known:
        got = f"{name}{did_you_mean(name, known)}"
        abort(f"hydra.sweeper.metric must be one of {', '.join(known)}, got {got}")
    if name.startswith("validation/") and validation == 0:
        abort(f"data.validation >= 1 must hold for a search by {name}, got data.validation=0")
