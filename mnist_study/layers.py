"""Layers: an affine map and three activations, forward and backward, into given buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Dense:
    """Affine map ``y = (x * scale) @ weight + bias``; all arrays are views into flat vectors.

    Shapes: weight and grad_weight (fan_in, fan_out), bias and grad_bias (fan_out,).
    `scale` is applied after the product, to the far fewer outputs: images come as bytes 0..255.
    """

    weight: Array
    bias: Array
    grad_weight: Array
    grad_bias: Array
    scale: float = 1.0

    def forward(self, x: Array, y: Array) -> None:  # x: (batch, fan_in)
        """Write ``(x * scale) @ weight + bias`` into `y`, (batch, fan_out)."""
        np.matmul(x, self.weight, out=y)
        if self.scale != 1:
            y *= self.scale
        y += self.bias

    def backward(self, grad_y: Array, x: Array, ones: Array, grad_x: Array | None) -> None:
        """Write the gradients of weight and bias, and of `x` unless nobody asks for it.

        Args:
            grad_y: (batch, fan_out), the loss's gradient at this layer's output; scaled in place.
            x: (batch, fan_in), the input that `forward` saw.
            ones: (batch,) of 1: ``ones @ grad_y`` sums over the batch, at BLAS speed.
            grad_x: (batch, fan_in) buffer, or None for the first layer.
        """
        np.matmul(ones, grad_y, out=self.grad_bias)  # (fan_out,)
        if self.scale != 1:
            grad_y *= self.scale  # from here on: the gradient at x @ weight
        np.matmul(x.T, grad_y, out=self.grad_weight)  # (fan_in, fan_out)
        if grad_x is not None:
            np.matmul(grad_y, self.weight.T, out=grad_x)  # (batch, fan_in)


@dataclass(frozen=True, slots=True)
class Activation:
    """An element-wise function and its slope, both in place.

    `slope` turns the function's *output* into its derivative there: backward needs no other copy.
    """

    apply: Callable[[Array], object]
    slope: Callable[[Array], object]


# The bounds of `relu` as arrays of each type: clip takes twice the time with Python's numbers.
_ABOVE_ZERO = {np.dtype(t): (np.zeros((), t), np.full((), np.inf, t)) for t in ("f4", "f8")}


def relu(z: Array) -> None:
    """max(z, 0), as a clip: NumPy has vector instructions for it, a third of the time here."""
    z.clip(*_ABOVE_ZERO[z.dtype], out=z)


def relu_slope(y: Array) -> None:
    """1 where the unit is active, else 0; written as numbers: no array of booleans in between."""
    np.greater(y, 0, out=y)


def sigmoid(z: Array) -> None:
    """1 / (1 + exp(-z)) as (1 + tanh(z / 2)) / 2: the same function, and it never overflows."""
    z *= 0.5
    np.tanh(z, out=z)
    z += 1
    z *= 0.5


def sigmoid_slope(y: Array) -> None:
    """y (1 - y), as 1/4 - (y - 1/2)²: in place."""
    y -= 0.5
    np.square(y, out=y)
    np.subtract(0.25, y, out=y)


def tanh(z: Array) -> None:
    """Hyperbolic tangent."""
    np.tanh(z, out=z)


def tanh_slope(y: Array) -> None:
    """1 - y²."""
    np.square(y, out=y)
    np.subtract(1, y, out=y)


ACTIVATIONS = {
    "relu": Activation(relu, relu_slope),
    "sigmoid": Activation(sigmoid, sigmoid_slope),
    "tanh": Activation(tanh, tanh_slope),
}
