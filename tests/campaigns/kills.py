"""kill -9 at random moments of tracked studies, on every engine, until there were enough.

    python -m tests.campaigns.kills 100

Each study runs with the default `max_retries`. Afterwards its budget is exact, no trial is lost or
made twice, and MLflow says of each trial what Optuna says. It takes about 5 s a kill.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from optuna.trial import TrialState

from hydra_plugins.hydra_optuna_study._process import process_of
from tests.plugin.sweeping import FINISHED, kept
from tests.studied import agree, search, start, trials_in

N_TRIALS = 6
ENGINES = {  # whom to kill, in this order
    "processes": ["worker", "controller", "all", "worker", "all", "controller"],
    "local": ["controller"] * 3,
    "submitit": ["all", "worker", "controller", "all"],
    "ray": ["worker", "all", "controller"],
}
WORDS = (
    f"hydra.sweeper.n_trials={N_TRIALS}",
    "hydra.sweeper.workers=2",
    "training.epochs=4",
    "model.depth=range(1,3)",
)


def survive(engine: str, folder: Path, chance: random.Random) -> int:
    """Run one study to its end through its kills, and check it; the number of killed processes."""
    words = (*WORDS, f"engine={engine}")
    controller = start(*words, folder=folder)
    killed = 0
    for whom in ENGINES[engine]:
        deadline = time.monotonic() + 60
        while not _workers(folder) and controller.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(chance.uniform(0.0, 1.5))
        if controller.poll() is None:
            alive = _workers(folder)
            victims = alive[:1] if whom == "worker" else alive if whom == "all" else []
            for pid in {*victims, *([] if whom == "worker" else [controller.pid])}:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    continue
        if whom != "worker":
            controller.wait(timeout=30)
        if controller.poll() is not None:
            controller = start(*words, folder=folder)
    assert controller.wait(timeout=180) == 0, (folder / "output.txt").read_text()
    assert "is complete" in search(*words, folder=folder).stdout
    trials = trials_in(folder)
    print(f"{engine}: {killed} kills, {len(trials)} trials for {N_TRIALS}", flush=True)
    assert killed >= len(ENGINES[engine]) - 1  # one may come when all is done
    check(folder)
    return killed


def check(folder: Path) -> None:
    """The study as Optuna alone reads it, its MLflow runs, and its folders."""
    trials, output = trials_in(folder), (folder / "output.txt").read_text()
    assert all(trial.state in FINISHED for trial in trials), output
    lost = [t for t in kept(trials) if t.state == TrialState.FAIL]
    assert not lost, f"{[(t.number, t.user_attrs) for t in lost]}\n{output}"
    assert len(kept(trials)) == N_TRIALS, output
    agree(trials, folder / "mlflow.db")
    for trial in kept(trials):
        own = folder / "multirun/optuna" / str(trial.number)
        assert (own / ".hydra/config.yaml").exists()
        assert (own / "tracking/records.jsonl").read_text().count('"end"') == 1


def _workers(folder: Path) -> list[int]:
    """The live workers of running trials."""
    try:
        running = [trial for trial in trials_in(folder) if trial.state == TrialState.RUNNING]
    except (KeyError, FileNotFoundError):
        return []
    signed = [t.user_attrs["worker"] for t in running if "worker" in t.user_attrs]
    return [worker.pid for worker in map(process_of, signed) if worker.is_alive]


def main(kills: int, seed: int) -> None:
    """Studies one after another, a new seed each, until `kills` processes were killed."""
    killed = 0
    for number in count():
        for engine in ENGINES:
            if killed >= kills:
                print(f"{killed} kills survived, seed {seed}")
                return
            with tempfile.TemporaryDirectory() as folder:
                chance = random.Random(f"{seed} {number} {engine}")
                killed += survive(engine, Path(folder), chance)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(given[0] if given else 100, given[1] if len(given) > 1 else random.randrange(10**6))
