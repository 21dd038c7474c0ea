"""Do two workers share the images' pages, or does each hold a copy? Linux counts them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.startup import ROOT

CACHE = "~/.cache/mnist_study"


def two_workers():
    """MiB of images that two processes with all of them in use share, and that one has alone."""
    if not Path("/proc/self/smaps").exists():
        print("\npages of two workers: only Linux counts them")
        return None
    words = [sys.executable, "-m", "tests.benchmarks.pages"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(words, cwd=ROOT, **pipes) for _ in range(2)]
    for worker in workers:  # both have read every image before any counts
        worker.stdout.readline()
    shared, private = _counted(workers[0])
    workers[1].communicate("count\n")
    print(f"\nimages in use by two workers: {shared:.0f} MiB shared, {private:.0f} MiB of its own")
    return {"shared_mib": shared, "private_mib": private}


def _counted(worker):
    words, _ = worker.communicate("count\n")
    return map(float, words.split())


def _child():
    from mnist_study.data import mnist

    dataset = mnist(validation=10_000, split_seed=0, cache=os.path.expanduser(CACHE))
    for split in (dataset.train, dataset.validation, dataset.test):
        split.images.sum()
    print("ready", flush=True)
    sys.stdin.readline()
    maps = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    images = "\n".join(part for part in maps if ".cache/mnist_study" in part.partition("\n")[0])
    for kind in ("Shared", "Private"):
        kibs = re.findall(rf"{kind}_(?:Clean|Dirty): +(\d+) kB", images)
        print(sum(map(int, kibs)) / 1024, end=" ")


if __name__ == "__main__":
    _child()
