"""What a slow MLflow server costs a search: at most a tenth of its time, however slow.

    python -m tests.benchmarks.slow_server [--seconds 3] [--trials 8] [--epochs 20] [--repeats 1]

The same search untracked, with a healthy server, and with one that needs some seconds a call; then
the records that wait are sent. Each in a folder of its own; a figure is the median of wall seconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.command import mnist_study
from tests.mlflow_server import Server
from tests.slow_proxy import slow
from tests.studied import search

SHARE = 0.10  # of its time that a search may take longer


def measure() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--engine", default="local")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name))
        server.start()
        try:
            with slow(server.uri, options.seconds) as proxy:
                stores = {
                    "untracked": "tracking=none",
                    "healthy": f"tracking.uri={server.uri}",
                    "slow": f"tracking.uri={proxy.uri}",
                }
                compare(Path(name), stores, options)
                proxy.seconds = 0.0
                done = mnist_study(
                    "send", f"{name}/slow-0", folder=Path(name), module="mnist_study.tracking"
                )
                print(f"sent later, exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        finally:
            server.kill()


def compare(folder: Path, stores: dict[str, str], options: argparse.Namespace) -> None:
    """Print the time of each search and its ratio to the first."""
    words = [
        f"hydra.sweeper.n_trials={options.trials}",
        f"training.epochs={options.epochs}",
        "model.width=100",
        "pruner=none",
        f"engine={options.engine}",
    ]
    took: dict[str, list[float]] = {store: [] for store in stores}
    for repeat in range(options.repeats):
        for store, word in stores.items():
            below = folder / f"{store}-{repeat}"
            below.mkdir()
            began = time.perf_counter()
            done = search(*words, word, folder=below)
            took[store].append(time.perf_counter() - began)
            said = (done.stdout + done.stderr).splitlines()
            print("\n".join(line for line in said if "MLflow" in line))
    first = median(took["untracked"])
    for store, seconds in took.items():
        ratio = median(seconds) / first
        print(f"{store:10} {median(seconds):7.1f} s, {ratio:.3f} (under {1 + SHARE:.2f})")


if __name__ == "__main__":
    measure()
