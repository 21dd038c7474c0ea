"""How fast is the trainer? `python -m tests.benchmarks.trainer` [--short] [--out FOLDER].

One process on one core, one thread for all. Contenders take turns, round by round, so that drift
cancels; what counts are medians, and medians of the ratios within a round. Times are CPU time:
on a quiet machine that is wall time, on a busy one it leaves out the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import geometric_mean, median

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
PARTS = ("steps", "profile", "experiment", "shares", "startup", "pages")
TARGETS = {  # our speed over theirs: at least everywhere, at least in geometric mean
    "torch": (1.15, 1.7),
    "torch.compile": (1.0, 1.15),
    "jax": (1.0, 1.15),
    "scikit-learn": (1.25, 1.25),
}
SECONDS = 0.15  # of one turn


def main():
    """Measure what the command line asks for, print it, and save it as JSON and a picture."""
    arguments = _parsed()
    _one_core()
    from mnist_study.data import mnist
    from tests.benchmarks.picture import bars

    split = mnist(validation=0, split_seed=0, cache=None).train
    results = {"machine": _machine(), "clock": "CPU time, one core, one thread"}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts:
        results[part] = _part(part, arguments, split)
        (arguments.out / "trainer.json").write_text(json.dumps(results, indent=2))
    if "steps" in results:
        (arguments.out / "trainer.svg").write_text(bars(results["steps"]))
    print(f"\nsaved in {arguments.out}")


def _parsed():
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(tempfile.gettempdir(), "mnist_study_benchmark")
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--short", action="store_true", help="only see that it works; no peers")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--optimizers", nargs="+", default=["sgd", "momentum", "adam"])
    parser.add_argument("--case", default="", help="only cases whose name holds this text")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rounds = 2
    return arguments


def _one_core():
    """Before NumPy is imported: its BLAS reads the number of threads then."""
    os.environ |= dict.fromkeys(THREADS, "1")
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _machine():
    import numpy as np

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
    }


def _part(part, arguments, split):
    from tests.benchmarks import experiment, pages, profile, shares, startup
    from tests.benchmarks.contenders import CASES

    return {
        "steps": lambda: steps(arguments, split),
        "profile": lambda: profile.step_parts(CASES, split, short=arguments.short),
        "experiment": lambda: experiment.two_layers(split, short=arguments.short),
        "shares": lambda: shares.default_run(short=arguments.short),
        "startup": lambda: startup.times(short=arguments.short),
        "pages": pages.two_workers,
    }[part]()


def steps(arguments, split):
    """Every case with every optimizer: a row of medians and ratios each."""
    from dataclasses import replace

    from tests.benchmarks.contenders import (
        CASES,
        every_pixel,
        floor,
        floor_in_torch,
        ours,
        plain,
    )
    from tests.benchmarks.peers import installed

    peers = dict.fromkeys(installed()) if arguments.short else installed()
    for name, make in peers.items():
        if make is None:
            print(f"{name}: not {'asked for (--short)' if arguments.short else 'installed'}")
    makers = {"ours": ours, "every pixel": every_pixel, "floor": floor, "plain": plain}
    makers |= {"torch's floor": floor_in_torch} if peers["torch"] else {}
    makers |= {name: make for name, make in peers.items() if make}
    print(f"\n{'CPU microseconds a step':38}" + "".join(f"{name:>14}" for name in makers))
    cases = [case for case in CASES if arguments.case in case.name]
    rows = []
    for optimizer in arguments.optimizers:
        for case in cases[:4:3] if arguments.short else cases:
            chosen = replace(case, optimizer=optimizer)
            rows.append(_row(chosen, split, makers, arguments))
            _show(rows[-1], makers)
    _summary(rows)
    return rows


def _row(case, split, makers, arguments):
    """Medians of one case, and of ratios within each round: how many times as fast we are."""
    turn = 0.01 if arguments.short else SECONDS
    count = max(3, min(len(split.labels) // case.batch, int(turn * 60e9 / case.flops)))
    made = {name: make(case, split, count) for name, make in makers.items()}
    runs = {name: run for name, run in made.items() if run is not None}
    losses = {name: run() for name, run in runs.items()}  # and warm
    times = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            started = time.process_time()
            losses[name] = run()
            times[name].append((time.process_time() - started) / count * 1e6)
    pairs = {name: zip(times[name], times["ours"], strict=True) for name in runs if name != "ours"}
    return {
        "case": case.name,
        "optimizer": case.optimizer,
        "bound": case.bound,
        "steps": count,
        "microseconds": {name: median(values) for name, values in times.items()},
        "ratios": {name: median(b / a for b, a in both) for name, both in pairs.items()},
        "losses": {name: loss for name, loss in losses.items() if "floor" not in name},
        "forms": {name: run.form for name, run in runs.items() if hasattr(run, "form")},
        "rounds": times,
    }


def _show(row, makers):
    label = f"{row['optimizer']:9} {row['case']}"
    values = [row["microseconds"].get(name) for name in makers]
    cells = "".join(f"{value:14.0f}" if value else f"{'-':>14}" for value in values)
    print(f"{label:38}{cells}", flush=True)
    values = [row["ratios"].get(name) for name in makers]
    cells = "".join(f"{value:14.2f}" if value else f"{'':>14}" for value in values)
    print(f"{'':12}{'ours is so many times as fast':26}{cells}", flush=True)


def _summary(rows):
    """What was asked for, and what was reached."""
    print("\nreached:")
    bounded = [row for row in rows if row["bound"] and row["optimizer"] == "sgd"]
    for row in bounded:
        got, bound = row["ratios"]["floor"], row["bound"]
        print(f"  {row['case']:30} {got:.2f} of the floor's speed, at least {bound} asked for")
    for name, (everywhere, mean) in TARGETS.items():
        ratios = [row["ratios"][name] for row in rows if name in row["ratios"]]
        if ratios:
            facts = f"least {min(ratios):.2f} ({everywhere}), mean {geometric_mean(ratios):.2f}"
            print(f"  {name:30} {facts} ({mean})")


if __name__ == "__main__":
    main()
