"""One Hydra job: a run's events piped through tracking, the study's pruner and the terminal."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_original_cwd
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from hydra_plugins.hydra_optuna_study import cores, current_trial, defer
from mnist_study.config import ConfigError, TrackingConfig, section
from mnist_study.console import abort
from mnist_study.nn.training import Diverged, EpochEnded, Event, Finished
from mnist_study.run import Run, compose_run, scaled
from mnist_study.study.callback import child_tags, parent_run_id, reported, trial_tracking
from mnist_study.tracking import RunRecord, open_tracker
from mnist_study.tracking.store import store_uri

if TYPE_CHECKING:
    import optuna

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 5.0  # seconds that the end of a run waits for its store without a word
WORTH_A_THREAD = 5e7  # multiply-adds of a batch's forward pass, about a millisecond of one core


def job(config: DictConfig) -> dict[str, float]:
    """Train what `config` composes and return its final figures by metric key.

    A trial's errors belong to its study and are raised. At the command line a user's mistake ends
    the process with one sentence and exit code 2, a diverged run with 1, Ctrl-C with 130.
    """
    trial = current_trial()
    if trial is not None:
        return _train(config, trial)
    for number in SIGNALS:
        signal.signal(number, _stop)
    try:
        return _train(config, None)
    except ConfigError as error:
        _remove_hydra_record()
        abort(str(error))
    except OmegaConfBaseException as error:
        _remove_hydra_record()
        abort(f"{error.full_key}: {str(error.msg).splitlines()[0]}")
    except Diverged as error:
        abort(f"the training diverged: {error}", code=1)
    except KeyboardInterrupt:
        abort("interrupted", code=130)


def _stop(number: int, _frame: object) -> None:
    """End the run as KILLED, and say at once what that still waits for."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)  # the next one ends the process, wherever it is
    folder = HydraConfig.get().runtime.output_dir
    print(
        "mnist_study: stopping; what the run has recorded is written and sent first. Another "
        f"signal ends at once, and leaves the records in {folder}",
        file=sys.stderr,
        flush=True,
    )
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(143)


@contextmanager
def _announced(trial: optuna.Trial | None) -> Iterator[Callable[[], None]]:
    """Within, a plain run that still waits for its store some seconds after `over()` says so."""
    folder = HydraConfig.get().runtime.output_dir
    text = (
        "mnist_study: trained; waiting until MLflow has taken the last records. Ctrl-C leaves them "
        f"in {folder}; python -m mnist_study.tracking send {folder}"
    )
    timer = threading.Timer(PATIENCE, print, [text], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    try:
        yield timer.start if trial is None else lambda: None
    finally:
        timer.cancel()


def _train(config: DictConfig, trial: optuna.Trial | None) -> dict[str, float]:
    config = scaled(config)
    tracking = section(config, TrackingConfig)
    if tracking.backend == "mlflow" and trial is None:  # hydra.job.chdir=true moves the run alone
        tracking = replace(tracking, uri=store_uri(tracking.uri, Path(get_original_cwd())))
    tracking = trial_tracking(tracking, trial)
    run = compose_run(config)
    record, leave = _record(config, run, trial), defer if trial else None
    with (
        _announced(trial) as over,
        threadpool_limits(_blas_threads(run, trial)),
        np.errstate(over="ignore", invalid="ignore"),  # a run that diverges says so by `Diverged`
        open_tracker(tracking, record, leave) as tracker,
    ):
        events = tracker.follow(run.events())
        events = reported(events, trial) if trial else show_progress(events, run)
        finished = deque(events, maxlen=1).pop()
        over()
    assert isinstance(finished, Finished)
    if trial and tracker.lost:
        raise tracker.lost  # the study stops, and tries this trial again when there is space
    if trial is None:
        print(score_table(finished))
        print(tracker.hint())
    return {
        **{f"{name}/accuracy": score.accuracy for name, score in finished.scores.items()},
        **{f"{name}/error": 1 - score.accuracy for name, score in finished.scores.items()},
        **{f"{name}/loss": score.loss for name, score in finished.scores.items()},
        "time/train_seconds": finished.train_seconds,
        "parameters": float(run.network.parameters.size),
    }


def show_progress(events: Iterator[Event], run: Run) -> Iterator[Event]:
    """Pass events on; show each epoch as a bar on a terminal, as a plain line elsewhere."""
    epochs, terminal = run.settings.epochs, sys.stderr.isatty()
    with tqdm(total=epochs, unit="epoch", disable=not terminal) as bar:
        every = max(1, epochs // 20)  # a log of 3000 epochs is not read
        for event in events:
            if isinstance(event, EpochEnded):
                scores = "  ".join(
                    f"{name} {score.accuracy:.2%} (loss {score.loss:.4f})"
                    for name, score in event.scores.items()
                )
                bar.set_postfix_str(scores, refresh=False)
                bar.update()
                if not terminal and (event.epoch % every == 0 or event.epoch == epochs):
                    print(f"epoch {event.epoch}/{epochs}  {scores}", flush=True)
            yield event


def score_table(finished: Finished) -> str:
    """The final scores, a column a set, and the speed."""
    names = list(finished.scores)
    rows = [
        "".join(f"{word:>12}" for word in ("", *names)),
        f"{'accuracy':>12}" + "".join(f"{finished.scores[n].accuracy:>12.2%}" for n in names),
        f"{'loss':>12}" + "".join(f"{finished.scores[n].loss:>12.4f}" for n in names),
    ]
    seconds, speed = finished.train_seconds, finished.images_per_second
    rows.append(f"{seconds:.1f} s of training, {speed:,.0f} images per second")
    return "\n".join(rows)


def _blas_threads(run: Run, trial: optuna.Trial | None) -> int | None:
    """As many as asked for; `auto`: a worker's share, else all cores where a product is worth it.

    On small products a second thread waits more than it works: measured on two cores that others
    use too, the default network trains three to ten times faster with one.
    """
    if run.settings.threads != "auto":
        return int(run.settings.threads)
    if trial:
        return None  # the worker has set its share
    large = run.batch_size * run.network.parameters.size >= WORTH_A_THREAD
    return cores() if large else 1


def _record(config: DictConfig, run: Run, trial: optuna.Trial | None) -> RunRecord:
    folder = Path(HydraConfig.get().runtime.output_dir)
    return RunRecord(
        folder=folder,
        config_yaml=OmegaConf.to_yaml(config, resolve=True),
        params=_flat(OmegaConf.to_container(config, resolve=True)),
        tags={"hydra.output_dir": str(folder), **child_tags(trial)},
        dataset=run.dataset,
        network=run.network,
        curves_per_epoch=run.eval_every is None,
        points=run.points,
        parent_run_id=parent_run_id(trial),
    )


def _flat(node: Any, prefix: str = "") -> dict[str, object]:
    """Nested mappings as dotted keys; a target becomes its group's value, `optimizer: Momentum`.

    Left out is what says nothing of the run: where it is tracked and cached, what is null.
    """
    flat: dict[str, object] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        if key == "_target_":
            flat[prefix.rstrip(".")] = value.rpartition(".")[2]
        elif name in ("tracking", "study", "data.cache") or key == "_partial_" or value is None:
            continue
        elif isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _remove_hydra_record() -> None:
    """A refused run leaves nothing behind: its folder goes if it holds only Hydra's record."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    log = f"{HydraConfig.get().job.name}.log"
    if {path.name for path in folder.iterdir()} <= {".hydra", log}:
        shutil.rmtree(folder)
        for empty in list(folder.parents)[:2]:  # outputs/<day>
            with suppress(OSError):
                empty.rmdir()
