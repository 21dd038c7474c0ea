"""Why is a step not all products? CPU time of its parts, measured inside the trainer's own loop.

"products in place" are the step's products where they stand: between other arrays, in the one
memory order that a weight has, in tiles and without what is black. What is left to gain is in the
columns behind it.

Measured and dropped, each worth less than 2 % or nothing: gathering and casting block by block,
touching the rows of a batch before they are gathered, images in huge pages, rows in the order of
their addresses, 1/255 moved behind ReLU to the logits, the bias as one more weight or added to
several rows at once, integer masks for ReLU's slope, tiles of columns, smaller blocks of an update.
Chunks of 300 to 750 images lose where there are hidden layers: summing their gradients costs more
than the cache gives. Gathering only the lit part of each row takes half the gather's time, 8 % of a
softmax's step and 2 % of others', but only through a view of rows as single numbers of 448 bytes.
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import numpy as np

from mnist_study.nn import training
from mnist_study.nn.losses import CrossEntropy
from mnist_study.nn.optimizers import in_blocks
from tests.benchmarks.contenders import ours
from tests.benchmarks.shares import Clock

PARTS = ("products in place", "gather", "bytes to floats", "loss", "update", "rest")


def step_parts(cases, split, *, short):
    """Microseconds of a step's parts by case, printed as shares; with Adam where it costs most."""
    print(f"\n{'share of a step':34}" + "".join(f"{part:>19}" for part in PARTS))
    costly = [case for case in cases if case.batch == 32 or case.sizes[1] > 100]
    results = {}
    for case in [*cases, *(replace(case, optimizer="adam") for case in costly)]:
        steps = 3 if short else max(30, min(len(split.labels) // case.batch, 400))
        name = f"{case.optimizer}: {case.name}"
        results[name] = parts = _parts(case, split, steps)
        total = sum(parts.values())
        shares = "".join(f"{parts[part] / total:19.1%}" for part in PARTS)
        print(f"{name:34}{shares}", flush=True)
        if case.optimizer == "adam":
            parts["root and quotient"] = alone = _root_and_quotient(case)
            print(f"{'':34}  a square root and a quotient of all parameters alone: {alone:.0f} us, "
                  f"the update {parts['update']:.0f} us")  # fmt: skip
    return results


def _root_and_quotient(case):
    """Microseconds of what no order of Adam's terms can do without, block by block as there."""
    parameters = sum(fan_in * fan_out + fan_out for fan_in, fan_out in case.shapes)
    numbers, squares = np.ones((2, parameters), np.float32)
    times = []
    for _ in range(20):
        started = time.thread_time()
        for ones, block in in_blocks(numbers, squares):
            np.sqrt(block, out=block)
            np.divide(ones, block, out=block)
        times.append(time.thread_time() - started)
    return median(times) * 1e6


def _parts(case, split, steps):
    """CPU microseconds a step; what timing itself takes is left out."""
    clock = Clock()
    saved = np.matmul, np.copyto, CrossEntropy.__call__, training.Batches.epoch
    to_floats = clock.timed("bytes to floats", np.copyto)

    def copyto(to, source):
        """The images' copy; that of ten logits an image belongs to the loss."""
        return (to_floats if source.dtype == np.uint8 else saved[1])(to, source)

    def epoch(batches):
        """The epoch's batches, each gathered on the clock."""
        stream = saved[3](batches)
        gathered = clock.timed("gather", lambda: next(stream, None))
        while (batch := gathered()) is not None:
            yield batch

    try:
        np.matmul = clock.timed("products in place", saved[0])
        np.copyto = copyto
        CrossEntropy.__call__ = clock.timed("loss", saved[2])
        training.Batches.epoch = epoch
        run = ours(case, split, steps, timed=lambda step: clock.timed("update", step))
        run()
        clock.seconds.clear()
        clock.calls.clear()
        started = time.thread_time()
        run()
        total = time.thread_time() - started
    finally:
        np.matmul, np.copyto, CrossEntropy.__call__, training.Batches.epoch = saved
    inside = sum(clock.seconds.values())
    timing = clock.overhead() * sum(clock.calls.values())
    parts = dict(clock.seconds) | {"rest": max(total - inside - timing, 0.0)}
    return {part: parts[part] / steps * 1e6 for part in PARTS}
