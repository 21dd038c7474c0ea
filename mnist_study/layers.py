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
    """Affine map ``y = x @ weight + bias``; all four arrays are views into flat vectors.

    Shapes: weight and grad_weight (fan_in, fan_out), bias and grad_bias (fan_out,).
    """

    weight: Array
    bias: Array
    grad_weight: Array
    grad_bias: Array

    def forward(self, x: Array, y: Array) -> None:  # x: (batch, fan_in)
        """Write ``x @ weight + bias`` into `y`, (batch, fan_out)."""
        np.matmul(x, self.weight, out=y)
        y += self.bias

    def backward(self, grad_y: Array, x: Array, ones: Array, grad_x: Array | None) -> None:
        """Write the gradients of weight and bias, and of `x` unless nobody asks for it.

        Args:
            grad_y: (batch, fan_out), the loss's gradient at this layer's output.
            x: (batch, fan_in), the input that `forward` saw.
            ones: (batch,) of 1: ``ones @ grad_y`` sums over the batch, at BLAS speed.
            grad_x: (batch, fan_in) buffer, or None for the first layer.
        """
        np.matmul(x.T, grad_y, out=self.grad_weight)  # (fan_in, fan_out)
        np.matmul(ones, grad_y, out=self.grad_bias)  # (fan_out,)
        if grad_x is not None:
            np.matmul(grad_y, self.weight.T, out=grad_x)  # (batch, fan_in)


@dataclass(frozen=True, slots=True)
class Activation:
    """An element-wise function and its slope, both in place.

    `slope` turns the function's *output* into its derivative there: backward needs no other copy.
    """

    apply: Callable[[Array], object]
    slope: Callable[[Array], object]


def relu(z: Array) -> None:
    """max(z, 0)."""
    np.maximum(z, 0, out=z)


def relu_slope(y: Array) -> None:
    """1 where the unit is active, else 0: the sign of an output that is never negative."""
    np.sign(y, out=y)


def sigmoid(z: Array) -> None:
    """1 / (1 + exp(-z)) as (1 + tanh(z / 2)) / 2: the same function, and it never overflows."""
    z *= 0.5
    np.tanh(z, out=z)
    z += 1
    z *= 0.5


def sigmoid_slope(y: Array) -> None:
    """y (1 - y), as y - y²."""
    np.subtract(y, y * y, out=y)


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
