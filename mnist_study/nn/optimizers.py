"""Optimizers: each is given a gradient and a rate, and moves one flat parameter vector in place.

`lr` is the base rate that a schedule scales; `step` is given the rate of the moment. A step may
overwrite the gradient: it is the cheapest scratch there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from mnist_study.nn.layers import Array


class Optimizer(Protocol):
    """What the trainer needs; any class with this shape can be named by `optimizer._target_`."""

    lr: float  # the base learning rate

    def step(self, gradient: Array, lr: float) -> None:
        """Move the parameters once; `gradient` (parameters,) may be overwritten."""


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} > 0 must hold, got {name}={value}")


def _below_one(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} in [0, 1) must hold, got {name}={value}")


# Parameters that move at once, 512 KiB an array. An update passes over its arrays several times:
# block by block the next pass finds in the cache what the last one left there.
BLOCK = 1 << 17


def in_blocks(*vectors: Array) -> Iterator[tuple[Array, ...]]:
    """Views of vectors of one length, block by block; small ones are one block."""
    for start in range(0, len(vectors[0]), BLOCK):
        yield tuple(vector[start : start + BLOCK] for vector in vectors)


# Denormal floats make the CPU many times slower. A decaying sum ends there: times 0.9, the smallest
# numbers that a float can hold round to themselves.
FLUSH_EVERY = 128  # steps; from FLUSH_BELOW to the smallest normal number take 390, at 0.9
FLUSH_BELOW = 1e18  # times the smallest normal number, 1e-20 in float32: too small to move a weight


def flush_denormals(sums: Array) -> None:
    """Zero entries below 1e-20 (float32): the weights of pixels that are rarely non-zero."""
    below = FLUSH_BELOW * np.finfo(sums.dtype).tiny
    for (block,) in in_blocks(sums):
        block[np.abs(block) < below] = 0


class Sgd:
    """Plain gradient descent: p -= lr g."""

    def __init__(self, parameters: Array, *, lr: float) -> None:
        _positive(lr=lr)
        self.parameters, self.lr = parameters, lr

    def step(self, gradient: Array, lr: float) -> None:
        """Bishop, PRML (2006), eq. 5.41."""
        for p, g in in_blocks(self.parameters, gradient):
            g *= lr
            p -= g


class Momentum:
    """Gradient descent with a heavy ball: v = momentum v + g, p -= lr v."""

    def __init__(self, parameters: Array, *, lr: float, momentum: float) -> None:
        _positive(lr=lr)
        _below_one(momentum=momentum)
        self.parameters, self.lr, self.momentum = parameters, lr, momentum
        self.steps = 0
        self.velocity = np.zeros_like(parameters)

    def step(self, gradient: Array, lr: float) -> None:
        """Polyak (1964), in the form of Sutskever et al. (2013), eqs. 1-2, rate taken out of v."""
        for p, g, v in in_blocks(self.parameters, gradient, self.velocity):
            v *= self.momentum
            v += g
            np.multiply(v, lr, out=g)
            p -= g
        self._count()

    def _count(self) -> None:
        self.steps += 1
        if self.steps % FLUSH_EVERY == 0:
            flush_denormals(self.velocity)


class Nesterov(Momentum):
    """Nesterov's momentum: v = momentum v + g, p -= lr (g + momentum v)."""

    def __init__(self, parameters: Array, *, lr: float, momentum: float) -> None:
        super().__init__(parameters, lr=lr, momentum=momentum)
        self._ahead = np.empty_like(parameters[:BLOCK])

    def step(self, gradient: Array, lr: float) -> None:
        """Sutskever et al. (2013), eqs. 3-4, at the point ahead (Bengio et al. 2013, eq. 7)."""
        for p, g, v in in_blocks(self.parameters, gradient, self.velocity):
            v *= self.momentum
            v += g
            g += np.multiply(v, self.momentum, out=self._ahead[: len(v)])
            g *= lr
            p -= g
        self._count()


class Adam:
    """Adam: a rate of its own for each parameter, from running means of g and g²."""

    def __init__(
        self, parameters: Array, *, lr: float, beta1: float, beta2: float, eps: float
    ) -> None:
        _positive(lr=lr, eps=eps)
        _below_one(beta1=beta1, beta2=beta2)
        self.parameters, self.lr = parameters, lr
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.steps = 0
        self.gradients = np.zeros_like(parameters)  # decayed sum of g: m / (1 - beta1)
        self.squares = np.zeros_like(parameters)  # decayed sum of g²: s / (1 - beta2)

    def step(self, gradient: Array, lr: float) -> None:
        """Kingma & Ba (2015), algorithm 1, with six of its factors folded into two scalars.

        The paper's means m and s are the decayed sums G and S below times (1 - beta1) and
        (1 - beta2), and corrected for their start at 0 they are G / c1 and S / c2, so

            lr (G / c1) / (sqrt(S / c2) + eps) = (lr sqrt(c2) / c1) G / (sqrt(S) + eps sqrt(c2))
        """
        self.steps += 1
        c1 = (1 - self.beta1**self.steps) / (1 - self.beta1)
        c2 = (1 - self.beta2**self.steps) / (1 - self.beta2)
        rate, eps = lr * math.sqrt(c2) / c1, self.eps * math.sqrt(c2)
        blocks = in_blocks(self.parameters, gradient, self.gradients, self.squares)
        for p, g, sums, squares in blocks:
            sums *= self.beta1
            sums += g  # G = beta1 G + g
            squares *= self.beta2
            squares += np.square(g, out=g)  # S = beta2 S + g²
            np.sqrt(squares, out=g)
            g += eps
            np.divide(sums, g, out=g)
            g *= rate
            p -= g
        if self.steps % FLUSH_EVERY == 0:
            flush_denormals(self.gradients)


class AdamW(Adam):
    """Adam with weight decay beside the gradient, not in it: p -= lr weight_decay p as well."""

    def __init__(
        self,
        parameters: Array,
        *,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
    ) -> None:
        super().__init__(parameters, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
        if not weight_decay >= 0:
            raise ValueError(f"weight_decay >= 0 must hold, got weight_decay={weight_decay}")
        self.weight_decay = weight_decay

    def step(self, gradient: Array, lr: float) -> None:
        """Loshchilov & Hutter (2019), algorithm 2; biases decay too, as they do there."""
        self.parameters *= 1 - lr * self.weight_decay
        super().step(gradient, lr)
