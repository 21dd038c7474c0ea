"""Where a default run's CPU time goes: BLAS, element-wise work, evaluation, Python, tracking.

"Tracking" is all that happens outside the stream of events, on any thread.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter

import numpy as np

from tests.benchmarks.startup import ROOT


def default_run(*, short):
    """Shares of the CPU time from the first iteration to the end, in a process of its own."""
    if importlib.util.find_spec("hydra") is None:
        print("\nshares of a default run: hydra is not installed here")
        return None
    tracked = not short and importlib.util.find_spec("mlflow") is not None
    overrides = ["training.threads=1", f"tracking={'mlflow' if tracked else 'none'}"]
    overrides += ["training.epochs=1"] * short
    with tempfile.TemporaryDirectory() as folder:
        if tracked:  # the store is made once, not by every run
            _python(folder, "-m", "mnist_study", *overrides, "training.epochs=1")
        words = _python(folder, "-m", "tests.benchmarks.shares", *overrides)
        seconds = json.loads(words.splitlines()[-1])
        if tracked:  # on a thread of its own, and before it says anything
            clock = "import mlflow.tracking, time; print(time.process_time())"
            seconds["import of MLflow"] = float(_python(folder, "-c", clock))
            seconds["tracking"] -= seconds["import of MLflow"]
    total = sum(seconds.values())
    print(f"\nCPU time of a default run from its first iteration on: {total:.1f} s")
    for name, value in seconds.items():
        print(f"  {name:20} {value / total:6.1%}")
    return seconds


def _python(folder, *words):
    """What a fresh interpreter prints."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


class Clock:
    """CPU time of this thread by name; a name's time is not also its caller's."""

    def __init__(self):
        self.seconds = Counter()
        self.calls = Counter()
        self._inner = [0.0]

    def timed(self, name, function):
        """`function`, its time added to `name` and taken out of the timed function around it."""

        def wrapper(*args, **kwargs):
            self._inner.append(0.0)
            started = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - started
                self.seconds[name] += spent - self._inner.pop()
                self.calls[name] += 1
                self._inner[-1] += spent

        return wrapper

    def overhead(self, repeats=20000):
        """Seconds that timing one call adds to the caller's share."""
        own = Clock()
        empty = own.timed("", lambda: None)
        started = time.thread_time()
        for _ in range(repeats):
            empty()
        return (time.thread_time() - started) / repeats


def _python_of_a_step(network, optimizer_class):
    """Seconds that the interpreter and NumPy's calls take, whatever the size of the arrays."""
    from mnist_study.nn.feed import Batch
    from mnist_study.nn.losses import CrossEntropy
    from mnist_study.nn.network import Network

    depth = len(network.dense)
    small = Network(
        1, 2, depth=depth, width=1, activation="relu", init="he", init_std=0.1,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    optimizer = optimizer_class(small.parameters, lr=1e-6, momentum=0.9)
    batch, loss = Batch(np.zeros((1, 1), np.uint8), np.zeros(1, np.int64)), CrossEntropy()
    repeats = 2000
    started = time.thread_time()
    for _ in range(repeats):
        small.loss_and_gradient(batch, loss)
        optimizer.step(small.gradient, 1e-6)
    return (time.thread_time() - started) / repeats


def _child(*overrides):
    from mnist_study import run as run_room
    from mnist_study.__main__ import main
    from mnist_study.nn import training
    from mnist_study.nn.optimizers import Momentum

    clock, runs = Clock(), []
    events_of = run_room.Run.events
    matmul, evaluate = np.matmul, training.evaluate
    np.matmul = timed_matmul = clock.timed("BLAS", matmul)

    def whole_evaluation(network, loss, feed):
        """With its products."""
        np.matmul = matmul
        try:
            return evaluate(network, loss, feed)
        finally:
            np.matmul = timed_matmul

    training.evaluate = run_room.evaluate = clock.timed("evaluation", whole_evaluation)

    def events(run):
        """The run's events; the time that passes inside is the training's."""
        stream = events_of(run)
        step = clock.timed("training", lambda: next(stream, None))
        runs.append((run, time.process_time()))
        while (event := step()) is not None:
            yield event

    run_room.Run.events = events
    sys.argv = ["mnist_study", *overrides]
    main()
    np.matmul = matmul
    run, started = runs[0]
    total = time.process_time() - started
    steps = run.settings.epochs * -(-len(run.dataset.train.labels) // run.batch_size)
    python = steps * _python_of_a_step(run.network, Momentum)
    timing = clock.overhead() * clock.calls["BLAS"]
    seconds = clock.seconds
    inside = seconds["BLAS"] + seconds["evaluation"] + seconds["training"]
    print()
    print(
        json.dumps(
            {
                "BLAS": seconds["BLAS"],
                "gather, element-wise": seconds["training"] - python - timing,
                "evaluation": seconds["evaluation"],
                "Python": python,
                "tracking": total - inside,
            }
        )
    )


if __name__ == "__main__":
    _child(*sys.argv[1:])
