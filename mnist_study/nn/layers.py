"""Layers: an affine map and three activations, forward and backward, into given buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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


class DensePass:
    """A dense layer's passes over batches of one size, set up once on the buffers they work in."""

    def __init__(
        self, layer: Dense, x: Array, y: Array, grad_y: Array, grad_x: Array | None
    ) -> None:
        """Take the buffers that `forward` and `backward` read and write.

        Args:
            x, y: (batch, fan_in) and (batch, fan_out), the layer's input and output.
            grad_y: (batch, fan_out), the loss's gradient at the output; may lie where y does.
            grad_x: (batch, fan_in), the gradient at the input, or None for the first layer.
        """
        self.x, self.y, self.grad_y, self.grad_x = x, y, grad_y, grad_x
        self._bias, self._scale = layer.bias, layer.scale
        ones = np.ones((1, len(x)), x.dtype)
        self._to_bias = product(ones, grad_y, layer.grad_bias[np.newaxis])
        self._to_y: Callable[[], object] = product(x, layer.weight, y)
        self._to_weight: Callable[[], object] = product(x.T, grad_y, layer.grad_weight)
        self._to_x = None if grad_x is None else product(grad_y, layer.weight.T, grad_x)

    def forward(self) -> None:
        """Write ``(x * scale) @ weight + bias`` into `y`."""
        self._to_y()
        if self._scale != 1:
            self.y *= self._scale
        self.y += self._bias

    def backward(self) -> None:
        """Write the gradients of weight, bias and `x`; `grad_y` is scaled in place."""
        self._to_bias()  # ones @ grad_y: the sum over the batch, at BLAS speed
        if self._scale != 1:
            self.grad_y *= self._scale  # from here on: the gradient at x @ weight
        self._to_weight()
        if self._to_x:
            self._to_x()


# Before a large product BLAS copies both matrices into an order of its own. Where few columns or
# few rows share the copy it takes as long as the product; and up to a million multiply-adds
# OpenBLAS (0.3, with AVX-512) multiplies the matrices where they lie. So such products go to it
# in tiles of rows, by the rules below, found by measuring: 10 columns take half the time.
IN_PLACE = 10**6  # multiply-adds
TILE = 112  # rows, at most
NARROW = 32  # columns
WIDE = 512  # columns, from which on BLAS wants other orders and more rows


def product(a: Array, b: Array, out: Array) -> Callable[[], Array]:
    """Set up ``a @ b`` into `out`, to be called whenever the contents of `a` or `b` are new.

    Shapes: a (rows, inner), b (inner, columns), out (rows, columns).
    """
    (rows, inner), columns = a.shape, b.shape[1]
    most = min(TILE, rows, IN_PLACE // (inner * columns))
    tile = max((t for t in range(8, most + 1) if rows % t == 0), default=rows)
    worth = columns <= NARROW or (b.flags.c_contiguous and (tile >= 60 or rows <= 4 * tile))
    if tile < rows and worth:
        a, out = a.reshape(-1, tile, inner), out.reshape(-1, tile, columns)  # views
    return partial(np.matmul, a, b, out=out)


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
