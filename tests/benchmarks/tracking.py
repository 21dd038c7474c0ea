"""What tracking costs a single run beyond the one import of MLflow and the opening of its store.

    python -m tests.benchmarks.tracking [--short] [--stores sqlite server] [--repeats 5]

In turn, each in a fresh process: a run of about 30 s tracked, the same run untracked, and MLflow
imported and its store opened behind all that an untracked run imports. Figures are medians.
"Outside" is CPU time that no event of the training took, on any thread and in any subprocess, until
the process is gone: training itself varies by more than tracking costs, so judge by this figure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.benchmarks.startup import ROOT
from tests.mlflow_server import Server

SECONDS = 30.0  # of the run that is tracked
SHARE = 0.02  # of it that tracking may take


def costs(uri: str, folder: Path, *, epochs: int, repeats: int) -> None:
    """Print what tracking to `uri` costs."""
    words = ["training.threads=1", f"training.epochs={epochs}"]
    kinds = {
        "tracked": ["run", *words, f"tracking.uri={uri}"],
        "untracked": ["run", *words, "tracking=none"],
        "MLflow": ["bare", uri],
    }
    probe(folder, ["run", "tracking=mlflow", f"tracking.uri={uri}", "training.epochs=1"])
    probes: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(repeats):
        for kind, asked in kinds.items():
            probes[kind].append(probe(folder, asked))
    seen = {
        kind: {key: median(probe[key] for probe in many) for key in many[0]}
        for kind, many in probes.items()
    }
    for kind, figures in seen.items():
        facts = ", ".join(f"{key} {value:6.2f} s" for key, value in figures.items())
        print(f"  {kind:10} {facts}")
    tracked, untracked, bare = seen["tracked"], seen["untracked"], seen["MLflow"]
    for key in tracked:
        cost = tracked[key] - untracked[key] - bare[key]
        share = cost / untracked["wall"]
        print(f"  tracking, {key:8} {cost:5.2f} s, {share:5.1%} (under {SHARE:.0%})")


def probe(folder: Path, words: list[str]) -> dict[str, float]:
    """Wall and CPU seconds of one fresh process, and the CPU seconds outside its training.

    Args: words: `run` and overrides, of a search too if it stays in one process; or `bare` and a
        store's address.
    """
    command = [sys.executable, "-m", "tests.benchmarks.tracking", *words]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    began, before = time.perf_counter(), _cpu(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE,
        text=True, check=True,
    )  # fmt: skip
    wall, cpu = time.perf_counter() - began, _cpu(resource.RUSAGE_CHILDREN) - before
    said = json.loads(done.stdout.splitlines()[-1])
    if words[0] == "bare":
        return said
    return {"wall": wall, "CPU": cpu, "outside": cpu - said["training"]}


def _cpu(whose: int) -> float:
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


def _bare(uri: str) -> None:
    """Import MLflow and open a store in a process that has imported what any run does."""
    import mnist_study.job  # noqa: F401  # an untracked run pays for it

    wall, cpu = time.perf_counter(), time.process_time()
    from mlflow import MlflowClient

    MlflowClient(uri).search_experiments(max_results=1)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"wall": wall, "CPU": cpu, "outside": cpu}))


def _run(*overrides: str) -> None:
    """A run as the command does it; CPU time of its training without the last scores is counted."""
    from mnist_study import run
    from mnist_study.__main__ import main
    from mnist_study.nn.training import Finished

    events_of, spent = run.Run.events, [0.0]

    def events(self):
        stream = events_of(self)
        while True:
            began = time.thread_time()
            event = next(stream, None)
            if event is None:
                return
            if not isinstance(event, Finished):
                spent[0] += time.thread_time() - began
            yield event

    run.Run.events = events
    sys.argv = ["mnist_study", *overrides]
    main()
    print("\n" + json.dumps({"training": spent[0]}))


def _epochs(folder: Path) -> int:
    """How many epochs take about SECONDS here."""
    few = [probe(folder, ["run", "tracking=none", "training.threads=1", f"training.epochs={n}"])
           for n in (1, 6)]  # fmt: skip
    an_epoch = (few[1]["wall"] - few[0]["wall"]) / 5
    return max(1, round(SECONDS / an_epoch))


def measure() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="runs of two epochs")
    parser.add_argument("--stores", nargs="+", choices=["sqlite", "server"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        epochs = 2 if options.short else _epochs(folder)
        if "sqlite" in (options.stores or ["sqlite"]):
            print(f"SQLite, {epochs} epochs, medians of {options.repeats}:")
            uri = f"sqlite:///{folder}/mlflow.db"
            costs(uri, folder, epochs=epochs, repeats=options.repeats)
        if "server" in (options.stores or ["server"]):
            server = Server(folder)
            server.start()
            try:
                print(f"a server, {epochs} epochs, medians of {options.repeats}:")
                costs(server.uri, folder, epochs=epochs, repeats=options.repeats)
            finally:
                server.kill()


if __name__ == "__main__":
    parts = {"run": _run, "bare": _bare}
    if sys.argv[1:] and sys.argv[1] in parts:
        parts[sys.argv[1]](*sys.argv[2:])
    else:
        measure()
