"""A study as a whole: what its trials report, its parent run in MLflow, its champion on the test set."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_study.config import ConfigError, StudyConfig, TrackingConfig, TrainingConfig, section
from mnist_study.training import EpochEnded, Event

if TYPE_CHECKING:
    import optuna

PARENT = "mlflow.parent_run_id"  # attribute of an Optuna study
CHAMPION = "champion"  # name of the follow-up search, and of the figures it leaves


def reported(events: Iterator[Event], trial: optuna.Trial) -> Iterator[Event]:
    """Pass events on; report each epoch's validation score to the pruner, which may end the run.

    Raises: optuna.TrialPruned with epoch and score. A study of several objectives never prunes.
    """
    import optuna

    metric = str(HydraConfig.get().sweeper.metric)
    split, _, field = metric.partition("/")
    prunes = split == "validation" and len(trial.study.directions) == 1
    for event in events:
        if prunes and isinstance(event, EpochEnded) and split in event.scores:
            score = event.scores[split]
            value = {"accuracy": score.accuracy, "loss": score.loss, "error": 1 - score.accuracy}[field]
            trial.report(value, step=event.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned(f"epoch {event.epoch}: {metric} {value:.4f}")
        yield event


def parent_run_id(trial: optuna.Trial | None) -> str | None:
    """The MLflow run of the study that `trial` belongs to, if it has one."""
    return trial.study.user_attrs.get(PARENT) if trial else None


def child_tags(trial: optuna.Trial | None) -> dict[str, str]:
    """What marks a run as a trial of its study."""
    if trial is None:
        return {}
    return {"study": trial.study.study_name, "optuna.trial_number": str(trial.number)}


class StudyRun:
    def study_started(self, study, config): pass
    def trials_changed(self, study): pass
    def study_ended(self, study, interrupted): pass
    def next_search(self, study): return None
