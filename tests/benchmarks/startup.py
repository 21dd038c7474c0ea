"""How long until the first iteration, until the data is ready, and how much memory a run takes.

Each figure comes from a fresh process; `python -m tests.benchmarks.startup first_step KEYS` is one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
BOUNDS = {  # as asked for
    "first iteration": "under 1.5 s",
    "with MLflow": "under 5 s",
    "data ready": "under 0.4 s",
    "end of a default run": "under 700 MiB",
}


def times(*, short):
    """Wall and CPU seconds and peak memory, medians of fresh processes."""
    if importlib.util.find_spec("hydra") is None:
        print("\nstart-up: hydra is not installed here")
        return None
    repeats = 1 if short else 5
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        probes = {
            "first iteration": ["first_step", "tracking=none", "training.epochs=1"],
            "with MLflow": ["first_step", "tracking=mlflow", "training.epochs=1"],
            "data ready": ["data"],
            "end of a default run": ["run", "tracking=none", "training.threads=1"],  # one core
        }
        if short or importlib.util.find_spec("mlflow") is None:
            probes.pop("with MLflow")
        if short:
            probes.pop("end of a default run")
        for name, words in probes.items():
            results[name] = _median_of([_probe(folder, words) for _ in range(repeats)])
            repeats = 1 if name == "data ready" else repeats
    print("\nstart-up, seconds from the command to")
    for name, result in results.items():
        facts = f"{result['wall']:5.2f} wall, {result['cpu']:5.2f} CPU, {result['mib']:4.0f} MiB"
        print(f"  {name:20} {facts}; {BOUNDS[name]} asked for")
    return results


def _median_of(probes):
    return {key: median(probe[key] for probe in probes) for key in probes[0]}


def _probe(folder, words):
    command = [sys.executable, "-m", "tests.benchmarks.startup", *words]
    environment = os.environ | {"PYTHONPATH": _path(), "STARTED": repr(time.time())}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _path():
    return os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])


def _report(*_, **__):
    """Say how long this process has been alive, and end it on the spot."""
    status = Path("/proc/self/status")  # Linux; ru_maxrss would be the parent's, from before exec
    peaks = [line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line]
    mib = int(peaks[0]) / 1024
    wall = time.time() - float(os.environ["STARTED"])
    print("\n" + json.dumps({"wall": wall, "cpu": time.process_time(), "mib": mib}), flush=True)
    os._exit(0)


def _child(what, *overrides):
    if what == "data":
        from mnist_study.data import mnist

        os.environ["STARTED"] = repr(time.time())  # the interpreter and NumPy are not the data
        mnist(validation=10000, split_seed=0, cache=os.path.expanduser("~/.cache/mnist_study"))
        _report()
    from mnist_study.__main__ import main
    from mnist_study.nn.network import Network

    if what == "first_step":
        Network.loss_and_gradient = _report  # called by the first iteration
    sys.argv = ["mnist_study", *overrides]
    main()
    _report()


if __name__ == "__main__":
    _child(*sys.argv[1:])
