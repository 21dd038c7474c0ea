"""One Hydra job: a run's events piped through tracking, the study's pruner and the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra_plugins.hydra_optuna_study._trial import current_trial
from omegaconf import DictConfig, OmegaConf
from threadpoolctl import threadpool_limits

from mnist_study.config import ConfigError, TrackingConfig, TrainingConfig, section
from mnist_study.console import shown, table
from mnist_study.run import Run, compose_run
from mnist_study.study import child_tags, parent_run_id, reported
from mnist_study.tracking import RunRecord, open_tracker
from mnist_study.training import Diverged, Event, Finished

if TYPE_CHECKING:
    import optuna


def job(config: DictConfig) -> dict[str, float]:
    """Train what `config` composes and return its final figures by metric key.

    A trial's errors belong to its study and are raised. At the command line a user's mistake ends
    the process with one sentence and exit code 2, a diverged run with 1, Ctrl-C with 130.
    """
    trial = current_trial()
    if trial is not None:
        return _train(config, trial)
    try:
        return _train(config, None)
    except ConfigError as error:
        _remove_hydra_record()
        _leave(str(error), code=2)
    except Diverged as error:
        _leave(f"the training diverged: {error}", code=1)
    except KeyboardInterrupt:
        _leave("interrupted", code=130)


def _train(config: DictConfig, trial: optuna.Trial | None) -> dict[str, float]:
    tracking = section(config, TrackingConfig)
    with _blas_threads(section(config, TrainingConfig).threads, trial):
        run = compose_run(config)
        tracker = open_tracker(tracking, _record(config, run, trial))
        with tracker:
            events = tracker.follow(run.events())
            events = reported(events, trial) if trial else shown(events, run.settings.epochs)
            finished = _last(events)
    if trial is None:
        print(table(finished))
        print(tracker.hint())
    return figures(finished, parameters=run.network.parameters.size)


def figures(finished: Finished, parameters: int) -> dict[str, float]:
    """The numbers a study may optimise, by metric key."""
    return {
        **{f"{name}/accuracy": score.accuracy for name, score in finished.scores.items()},
        **{f"{name}/error": 1 - score.accuracy for name, score in finished.scores.items()},
        **{f"{name}/loss": score.loss for name, score in finished.scores.items()},
        "time/train_seconds": finished.train_seconds,
        "parameters": float(parameters),
    }


def _last(events: Iterator[Event]) -> Finished:
    for event in events:
        if isinstance(event, Finished):
            finished = event
    return finished


def _blas_threads(threads: int | str, trial: optuna.Trial | None) -> AbstractContextManager[Any]:
    """All cores for a run on its own; a worker has already taken its share of them."""
    if threads == "auto":
        return nullcontext() if trial else threadpool_limits(os.cpu_count())
    return threadpool_limits(int(threads))


def _record(config: DictConfig, run: Run, trial: optuna.Trial | None) -> RunRecord:
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    return RunRecord(
        folder=folder,
        config_yaml=OmegaConf.to_yaml(config, resolve=True),
        params=_flat(OmegaConf.to_container(config, resolve=True)),
        tags={"hydra.output_dir": str(folder), **child_tags(trial)},
        dataset=run.dataset,
        network=run.network,
        curves_per_epoch=run.eval_every is None,
        parent_run_id=parent_run_id(trial),
    )


def _flat(node: Any, prefix: str = "") -> dict[str, object]:
    """Nested mappings as dotted keys, without the tracking section: it says nothing of the run."""
    flat: dict[str, object] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.") if name not in ("tracking", "study") else {}
        elif not str(key).startswith("_partial_"):
            flat[name] = value
    return flat


def _remove_hydra_record() -> None:
    """A refused run leaves nothing behind: what Hydra has already made of its folder goes."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    (folder / f"{HydraConfig.get().job.name}.log").unlink(missing_ok=True)
    for empty in (folder, *list(folder.parents)[:2]):  # outputs/<day>/<time>
        try:
            empty.rmdir()
        except OSError:
            return


def _leave(sentence: str, code: int) -> NoReturn:
    print(f"mnist_study: {sentence}", file=sys.stderr)
    sys.exit(code)
