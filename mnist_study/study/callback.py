"""A study as a whole: what trials report, its run in MLflow, and its champion on the test set."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mnist_study.config import ConfigError, StudyConfig, TrackingConfig, TrainingConfig, section
from mnist_study.nn.training import EpochEnded, Event
from mnist_study.study.champion import (
    CHAMPION,
    champion_line,
    champion_search,
    is_champion,
    near_ties,
    summary,
    trial_counts,
)
from mnist_study.study.runs import PARENT, STORE, STUDY, STUDY_ID, TRIAL, StudyRuns

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

    from hydra_plugins.hydra_optuna_study._callback import Search

SUMMED_UP = "mlflow.summed_up"  # attribute of an Optuna study: finished trials when last summed up


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
    """What marks a run as a trial of its study."""
    if trial is None:
        return {}
    tags = {STUDY: trial.study.study_name, TRIAL: str(trial.number)}
    study_id = trial.study.user_attrs.get(STUDY_ID)
    return tags | ({STUDY_ID: study_id} if study_id else {})


def where_the_study_is(tracking: TrackingConfig, trial: optuna.Trial | None) -> TrackingConfig:
    """A trial goes where its study's run is, whatever folder or machine a worker finds itself on.

    An address that means the same everywhere, a server's, stands.
    """
    store = trial.study.user_attrs.get(STORE) if trial else None
    if not store or (tracking.uri and not tracking.uri.startswith("sqlite")):
        return tracking
    return replace(tracking, uri=store)


class StudyRun:
    """The sweeper's observer: keeps the study's MLflow run, and asks for the champion's runs."""

    def __init__(self) -> None:
        self.searched: optuna.Study | None = None  # the study whose champion is trained again
        self.settings: TrackingConfig | None = None  # None: not tracked
        self.runs: StudyRuns | None = None
        self.resumed: set[str] = set()

    def check(self, config: DictConfig) -> None:
        """Check the sections that every trial will read; SystemExit(2) after one sentence."""
        self.config = config
        try:
            self.study_config = section(config, StudyConfig)
            self.training = section(config, TrainingConfig)
            tracking = section(config, TrackingConfig)
            _refuse_selection_by_test(config)
            if tracking.backend == "mlflow":
                self.settings = tracking
                self.runs = StudyRuns(tracking)
        except ConfigError as error:
            raise SystemExit(_refusal(str(error))) from error

    def study_started(self, study: optuna.Study, config: DictConfig) -> None:  # noqa: ARG002 - the protocol has it
        """Open the study's run."""
        if not is_champion(study):
            self.searched = study
        try:
            if self.runs:
                self.runs.open(study)
        except ConfigError as error:
            raise SystemExit(_refusal(str(error))) from error

    def trials_changed(self, study: optuna.Study) -> None:
        """The study's run is RUNNING again; every trial keeps its own run."""
        if self.runs and study.study_name not in self.resumed:
            self.resumed.add(study.study_name)
            self.runs.resume(study)

    def study_ended(self, study: optuna.Study, interrupted: bool) -> None:
        """Make MLflow agree with the study, and sum it up, unless nothing has happened since."""
        finished = sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
        figures = summary(study)
        if f"{CHAMPION}/seeds" in figures:
            print(champion_line(figures))
            print(near_ties(self.searched, figures[f"{CHAMPION}/test_accuracy_std"]))
        if study.user_attrs.get(SUMMED_UP) == finished and not interrupted:
            return
        arrived = self.runs is None or self.runs.close(
            study,
            Path(str(self.config.hydra.sweep.dir)).absolute(),
            figures,
            {"study.png": self._figure(study)} if study is self.searched else {},
            "KILLED" if interrupted else "FINISHED",
        )
        if arrived and not interrupted:
            study.set_user_attr(SUMMED_UP, finished)

    def next_search(self, study: optuna.Study) -> Search | None:
        """The best configuration again, on train + validation, with fresh seeds, scored on test."""
        seeds = self.study_config.champion_seeds
        if not seeds or is_champion(study) or not study.best_trials:
            return None
        return champion_search(study, seeds, first=self.training.seed + 1)

    def _figure(self, study: optuna.Study) -> Figure:
        from mnist_study.study.figure import pareto_figure, study_figure

        metric = OmegaConf.select(self.config, "hydra.sweeper.metric")
        names = [metric] if isinstance(metric, str) else list(metric)
        if len(names) > 1:
            return pareto_figure(study.get_trials(deepcopy=False), study.best_trials, names)
        maximize = study.directions[0].name == "MAXIMIZE"
        return study_figure(study.get_trials(deepcopy=False), names[0], maximize=maximize)


def _refuse_selection_by_test(config: DictConfig) -> None:
    metrics = OmegaConf.select(config, "hydra.sweeper.metric") or []
    for metric in [metrics] if isinstance(metrics, str) else metrics:
        if metric.startswith("test/"):
            raise ConfigError(
                "hydra.sweeper.metric must not be measured on the test set: a search selects by "
                f"validation, got {metric}"
            )


def _refusal(sentence: str) -> int:
    print(f"mnist_study: {sentence}", file=sys.stderr)
    return 2


def main(words: list[str]) -> int:
    """`list [STORAGE]` or `show NAME [STORAGE]`: studies, or one study's trials; the exit code.

    STORAGE: a journal file or a database URL; without it, every journal below `multirun/`.
    """
    import optuna

    from hydra_plugins.hydra_optuna_study._progress import best_table
    from hydra_plugins.hydra_optuna_study._storage import find_place

    match words:
        case ["list", *storages] if len(storages) <= 1:
            wanted = None
        case ["show", wanted, *storages] if len(storages) <= 1:
            pass
        case _:
            usage = "list [STORAGE] | show NAME [STORAGE]"
            print(f"usage: python -m mnist_study.study {usage}", file=sys.stderr)
            return 2
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = False
    for name in storages or sorted(map(str, Path("multirun").rglob("*.journal"))):
        place = find_place(name, Path())
        storage = place.open()
        for study in optuna.get_all_study_names(storage):
            if wanted in (None, study):
                loaded = optuna.load_study(study_name=study, storage=storage)
                ended = (f"{int(n)} {key[7:]}" for key, n in trial_counts(loaded).items() if n)
                print(f"{study}: {', '.join(ended) or 'no trial yet'}   {place.public}")
                if wanted:
                    print(best_table(loaded, rows=len(loaded.trials)))
                found = True
    if not found:
        named = f" {wanted}" if wanted else ""
        print(f"no study{named} in {', '.join(storages) or 'multirun/'}", file=sys.stderr)
    return 0 if found else 2
