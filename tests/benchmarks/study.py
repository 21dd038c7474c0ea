"""What a search costs beyond its training, and what workers and pruning gain.

    python -m tests.benchmarks.study [--short] [--parts workers overhead pruning books]

Every number is a ratio or a difference of searches that ran one after the other on this machine,
BLAS pinned to one thread a trial. `--short` is for trying it out: its figures are noisy.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from mnist_study.data import mnist
from mnist_study.nn.losses import CrossEntropy
from mnist_study.nn.network import Network
from mnist_study.nn.training import evaluate
from tests.benchmarks.tracking import probe
from tests.plugin.sweeping import load

ALONE = ["training.threads=1", "study.champion_seeds=0", "tracking=none", "pruner=none"]


def search(folder: Path, name: str, *words: str) -> float:
    """Seconds that a search takes as a command."""
    command = [sys.executable, "-m", "mnist_study", "+sweep=optuna", *words]
    command.append(f"hydra.sweeper.study_name={name}")
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def trials_of(folder: Path, name: str) -> list[FrozenTrial]:
    return load(folder, name).trials


def workers(folder: Path, *, short: bool) -> None:
    """Trials per hour of two workers and of one: equal trials, from the first begin to the end."""
    n = 6 if short else 24
    equal = ["sampler=grid", "training.batch_size=100", "model.depth=2", "optimizer.lr=0.1"]
    equal += [f"training.seed=range(0,{n})", f"hydra.sweeper.n_trials={n}"]
    equal += ["training.epochs=2" if short else "training.epochs=5", "model.width=100"]
    rates = {}
    for count in (1, 2):
        search(folder, f"w{count}", *ALONE, *equal, f"hydra.sweeper.workers={count}")
        trials = trials_of(folder, f"w{count}")
        span = max(t.datetime_complete for t in trials) - min(t.datetime_start for t in trials)
        rates[count] = n / span.total_seconds() * 3600
    print(f"trials per hour: one worker {rates[1]:.0f}, two {rates[2]:.0f}", end="; ")
    print(f"ratio {rates[2] / rates[1]:.2f} (at least 1.85)")


def overhead(folder: Path, *, short: bool) -> None:
    """Seconds from one trial's begin to the next one's, without training, in a warm worker.

    Also their CPU seconds, on any thread, which others on the machine change less.
    """
    n = 6 if short else 24
    words = ["engine=local", "hydra.sweeper.metric=time/train_seconds", "model.width=100"]
    words += ["hydra.sweeper.direction=minimize", "training.epochs=2", "training.batch_size=200"]
    for tracking, most in (("none", 0.15), ("mlflow", 0.35)):
        cpu = {}
        for count, name in ((2, f"{tracking}-few"), (n, tracking)):
            budget = [f"hydra.sweeper.n_trials={count}", f"hydra.sweeper.study_name={name}"]
            whole = ["run", "+sweep=optuna", *ALONE, *words, f"tracking={tracking}", *budget]
            cpu[count] = probe(folder, whole)["outside"]
        a_trial = (cpu[n] - cpu[2]) / (n - 2)
        trials = trials_of(folder, tracking)
        gaps = [
            (after.datetime_start - trial.datetime_start).total_seconds() - trial.value
            for trial, after in pairwise(trials[1:])
        ]
        print(
            f"a trial beyond its training, tracking={tracking}: "
            f"median {statistics.median(gaps):.2f} s, at most {max(gaps):.2f} s of {len(gaps)} "
            f"(median under {most}); {a_trial:.2f} s of CPU"
        )
    print(f"{_scoring():.2f} s of each score the whole training and validation sets, its last act")


def _scoring() -> float:
    """CPU seconds that the network of such a trial takes to score 60,000 images."""
    split = mnist(validation=0, split_seed=0, cache=None).train
    network = Network(
        784, 10, depth=2, width=100, activation="relu", init="he", init_std=0.0,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    feed, loss = network.prepare(split), CrossEntropy()
    seconds = []
    with threadpool_limits(1):
        for _ in range(5):
            began = time.process_time()
            evaluate(network, loss, feed)
            seconds.append(time.process_time() - began)
    return statistics.median(seconds)


def pruning(folder: Path, *, short: bool) -> None:
    """Steps trained and best accuracy of the same search without and with pruners."""
    n, epochs = (10, 3) if short else (24, 10)
    words = [f"hydra.sweeper.n_trials={n}", f"training.epochs={epochs}", "tracking=none"]
    words += ["training.threads=1", *(["model.width=32"] if short else [])]
    search(folder, "whole", *words, "pruner=none", "study.champion_seeds=5")
    pruners = ("halving",) if short else ("halving", "percentile", "median", "hyperband")
    for pruner in pruners:
        search(folder, pruner, *words, f"pruner={pruner}", "study.champion_seeds=0")
    steps, best = {}, {}
    for name in ("whole", *pruners):
        trials = trials_of(folder, name)
        steps[name] = sum(_steps(trial) for trial in trials)
        best[name] = max(t.value for t in trials if t.state == TrialState.COMPLETE)
    storage = load(folder, "whole")._storage
    (champion,) = [s.study_name for s in storage.get_all_studies() if "champion" in s.study_name]
    values = [t.value for t in optuna.load_study(study_name=champion, storage=storage).trials]
    noise = 1.96 * 2**0.5 * statistics.stdev(values)
    for pruner in pruners:
        print(
            f"pruner={pruner}: {steps[pruner] / steps['whole']:.0%} of the steps (at most 40 %), "
            f"best {best[pruner]:.4f} against {best['whole']:.4f}, noise of seeds {noise:.4f}"
        )


def _steps(trial: FrozenTrial) -> float:
    """Optimizer steps: epochs that were scored, times batches an epoch (50,000 images)."""
    return max(trial.intermediate_values, default=0) * 50_000 / trial.params["training.batch_size"]


def books(folder: Path, *, short: bool) -> None:
    """Listing, resuming and suggesting in a study of many finished trials."""
    from mnist_study.study.__main__ import main

    n = 200 if short else 2000
    words = ["engine=local", "training.epochs=1", "model.width=16", *ALONE]
    search(folder, "books", *words, "hydra.sweeper.n_trials=1")
    small = search(folder, "books", *words, "hydra.sweeper.n_trials=1")
    study = load(folder, "books")
    (first,) = study.trials
    elsewhere = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(1, n):
        trial = optuna.create_trial(
            params=elsewhere.ask(first.distributions).params,
            distributions=first.distributions,
            user_attrs=first.user_attrs,
            intermediate_values=dict.fromkeys(range(1, 11), 0.9),
            value=0.9 + 0.05 * number / n,
        )
        study.add_trial(trial)
    began = time.perf_counter()
    with redirect_stdout(StringIO()):
        main(["list", str(folder / "multirun/books/study.journal")])
    listing = time.perf_counter() - began
    resuming = search(folder, "books", *words, f"hydra.sweeper.n_trials={n}") - small
    study = load(folder, "books")
    study.sampler = optuna.samplers.TPESampler(multivariate=True, seed=0)
    began = time.perf_counter()
    study.ask(first.distributions)
    suggesting = time.perf_counter() - began
    print(
        f"{n} finished trials: list {listing:.2f} s, resume {resuming:.2f} s beyond a study of one,"
        f" suggest {suggesting:.2f} s (each under 1 s)"
    )


PARTS = {"workers": workers, "overhead": overhead, "pruning": pruning, "books": books}


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder), short=options.short)


if __name__ == "__main__":
    run()
