"""What is measured: a case, the product's own trainer, a plain one, and the floor below both."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from mnist_study.nn.feed import Feed
from mnist_study.nn.losses import CrossEntropy
from mnist_study.nn.network import Network
from mnist_study.nn.optimizers import Adam, Momentum, Sgd
from mnist_study.nn.schedules import constant
from mnist_study.nn.training import Measured, train
from tests.benchmarks.peers import RATES


@dataclass(frozen=True)
class Case:
    """A network, a batch size and an optimizer; `bound` is the share of the floor to reach."""

    sizes: tuple[int, ...]
    batch: int
    bound: float | None
    optimizer: str = "sgd"

    @property
    def shapes(self):
        return list(itertools.pairwise(self.sizes))

    @property
    def name(self):
        return f"{'-'.join(map(str, self.sizes))}, {self.batch}"

    @property
    def flops(self):
        """Of a step's products: two a layer, and one more for the gradient at its input."""
        products = [2 * i * o for i, o in self.shapes]
        return 2 * self.batch * (sum(products) + sum(i * o for i, o in self.shapes[1:]))


CASES = [
    Case((784, 10), 150, None),
    Case((784, 10), 1500, None),
    Case((784, 100, 10), 1500, 0.90),
    Case((784, 100, 10), 150, 0.75),
    Case((784, 100, 10), 32, 0.55),
    Case((784, 100, 100, 100, 10), 1500, 0.90),
    Case((784, 512, 512, 10), 128, 0.90),
    Case((784, 1024, 1024, 10), 256, 0.90),
]


def ours(case, split, steps, timed=lambda step: step, packed=True):
    """`train` itself, event by event: a point on the curve ends every `steps` iterations.

    `timed` may put a clock around the optimizer's step; without `packed` it reads whole pictures.
    """
    network = Network(
        case.sizes[0], case.sizes[-1], depth=len(case.shapes), width=1,
        hidden=case.sizes[1:-1] or None, activation="relu", init="he", init_std=0.01,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    lr, parameters = RATES[case.optimizer], network.parameters
    optimizer = {
        "sgd": lambda: Sgd(parameters, lr=lr),
        "momentum": lambda: Momentum(parameters, lr=lr, momentum=0.9),
        "adam": lambda: Adam(parameters, lr=lr, beta1=0.9, beta2=0.999, eps=1e-8),
    }[case.optimizer]()
    optimizer.step = timed(optimizer.step)
    events = train(
        network, optimizer, constant(total_steps=1, epoch_steps=1), CrossEntropy(),
        network.prepare(split) if packed else Feed(split), {}, epochs=10**9,
        batch_size=case.batch, sampling="shuffle", eval_every=steps, rng=np.random.default_rng(0),
    )  # fmt: skip

    def run():
        event = next(event for event in events if isinstance(event, Measured))
        return event.scores["train"].loss

    return run


def every_pixel(case, split, steps):
    """The same trainer without the packed input: every pixel is multiplied, as the peers do."""
    return ours(case, split, steps, packed=False)


def plain(case, split, steps):
    """Textbook float32 NumPy, every result a fresh array: what the buffers are worth."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, (2 / i) ** 0.5, (i, o)).astype(np.float32) for i, o in case.shapes]
    biases = [np.zeros(o, np.float32) for _, o in case.shapes]
    params = weights + biases
    slots = [[np.zeros_like(p) for p in params] for _ in range(2)]
    images, lr, count = split.images * np.float32(1 / 255), RATES[case.optimizer], [0]

    def update(grads):
        count[0] += 1
        c1, c2 = 1 - 0.9 ** count[0], 1 - 0.999 ** count[0]
        for p, g, m, s in zip(params, grads, *slots, strict=True):
            if case.optimizer == "sgd":
                p[:] = p - lr * g
            elif case.optimizer == "momentum":
                m[:] = 0.9 * m + g
                p[:] = p - lr * m
            else:
                m[:] = 0.9 * m + 0.1 * g
                s[:] = 0.999 * s + 0.001 * g**2
                p[:] = p - lr * (m / c1) / (np.sqrt(s / c2) + 1e-8)

    def run():
        for rows in rng.permutation(len(images))[: steps * case.batch].reshape(steps, -1):
            loss, grads = textbook(weights, biases, images[rows], split.labels[rows])
            update(grads)
        return loss

    return run


def textbook(weights, biases, x, labels):
    """Loss and gradients, weights first, as any course writes them."""
    inputs = []
    for weight, bias in zip(weights, biases, strict=True):
        inputs.append(x)
        x = x @ weight + bias
        if weight is not weights[-1]:
            x = np.maximum(x, 0)
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    p = exponentials / exponentials.sum(axis=1, keepdims=True)
    y = np.eye(p.shape[1], dtype=p.dtype)[labels]
    loss = float(-np.log(np.maximum((p * y).sum(axis=1), 1e-30)).mean())
    grad, grads = (p - y) / len(labels), []
    for layer in reversed(range(len(weights))):
        grads.append((inputs[layer].T @ grad, grad.sum(axis=0)))
        if layer > 0:
            grad = (grad @ weights[layer].T) * (inputs[layer] > 0)
    grads.reverse()
    return loss, [g for g, _ in grads] + [g for _, g in grads]


def floor(case, split, steps, multiply=lambda a, b, out: partial(np.matmul, a, b, out=out)):
    """Only the step's matrix products, one call each, in the memory order BLAS likes best.

    A real step must get its images from somewhere, and keep a weight in one order for the forward
    product and the backward one. Ours may still be faster: the floor multiplies every pixel, and in
    tiles some products take less time than in one call.
    """
    rng = np.random.default_rng(0)

    def both(rows, columns):
        numbers = rng.normal(0, 0.1, (rows, columns))
        return [np.asarray(numbers, np.float32, order=order) for order in "CF"]

    x = both(case.batch, case.sizes[0])[:1]  # images lie row by row, all else in either order
    products = []
    for layer, (fan_in, fan_out) in enumerate(case.shapes):
        w, grad_w, y = both(fan_in, fan_out), both(fan_in, fan_out), both(case.batch, fan_out)
        triples = [(x, w, y), ([array.T for array in x], y, grad_w)]
        if layer > 0:
            triples.append((y, [array.T for array in w], both(case.batch, fan_in)))
        for triple in triples:  # of one array each: all hold the same numbers in other orders
            forms = [multiply(*one) for one in itertools.product(*triple)]
            products.append(min(forms, key=_seconds))
        x = y

    def run():
        for _ in range(steps):
            for product in products:
                product()
        return float("nan")

    return run


def floor_in_torch(case, split, steps):
    """The same products by PyTorch, whose BLAS is another: what NumPy's cannot be blamed for."""
    import torch

    torch.set_num_threads(1)

    def multiply(*arrays):
        a, b, out = map(torch.from_numpy, arrays)
        return partial(torch.mm, a, b, out=out)

    return floor(case, split, steps, multiply)


def _seconds(product):
    """The least of some repetitions, after one to warm up."""
    product()
    times = []
    for _ in range(7):
        started = time.process_time_ns()
        product()
        times.append(time.process_time_ns() - started)
    return min(times)
