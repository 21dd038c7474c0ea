"""Layers: what a network is made of. A new one is a class like `Relu` and a line of YAML."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Init = Literal["normal", "he", "glorot"]


class Layer:
    """One step of a network: `forward` and `backward`; everything else has a default.

    The network owns all memory. It calls `bind` once, and both passes with buffers that it uses
    again at every step, so a pass writes into what it is given.
    """

    in_place = False  # whether the network may let y be x's memory, and grad_x that of grad_y
    rng: np.random.Generator  # of this layer alone; the network sets it from the run's seed

    def __init__(self) -> None:
        self.parameters: list[Array] = []  # what is trained, in the shapes of `parameter_shapes`
        self.gradients: list[Array] = []  # of the loss; `backward` writes them
        self.state: dict[str, Array] = {}  # what is saved but not trained, running means say

    def units(self, fan_in: int) -> int:
        """Numbers an image that leave the layer when `fan_in` enter it."""
        return fan_in

    def parameter_shapes(self, fan_in: int) -> Sequence[tuple[int, ...]]:
        """Shapes of the trained arrays; none by default."""
        return ()

    def bind(self, parameters: Array, gradient: Array, fan_in: int) -> None:
        """Take the layer's part of the network's two flat vectors, as views in its shapes."""
        start = 0
        for shape in self.parameter_shapes(fan_in):
            part = slice(start, start := start + math.prod(shape))
            self.parameters.append(parameters[part].reshape(shape))
            self.gradients.append(gradient[part].reshape(shape))

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the first parameters; they are 0 by default."""

    def forward(self, x: Array, y: Array, *, training: bool) -> None:
        """Write the output into `y`.

        Args:
            x: (batch, fan_in).
            y: (batch, units); may be x's memory if `in_place`.
            training: False where the network is only asked for its answer.
        """
        raise NotImplementedError

    def backward(self, x: Array, y: Array, grad_y: Array, grad_x: Array | None) -> None:
        """Write the gradients of the parameters, and at the input where that is asked for.

        Args:
            x, y: as `forward` of the same batch left them; `y` has served and may be overwritten.
            grad_y: (batch, units), the loss's gradient at `y`; may be overwritten.
            grad_x: (batch, fan_in), for the gradient at `x`, or None; may be grad_y's memory if
                `in_place`.
        """
        raise NotImplementedError


class Matmul:
    """The three products of an affine map, as NumPy takes them; `fast` has others."""

    def weight_view(self, flat: Array, fan_in: int, fan_out: int) -> Array:
        """The weights that lie in a flat vector, as (fan_in, fan_out)."""
        return flat.reshape(fan_in, fan_out)

    def forward(self, x: Array, weight: Array, y: Array) -> None:
        """y = x @ weight."""
        np.matmul(x, weight, out=y)

    def weight_gradient(self, x: Array, grad_y: Array, grad_weight: Array) -> None:
        """grad_weight = x.T @ grad_y."""
        np.matmul(x.T, grad_y, out=grad_weight)

    def input_gradient(self, grad_y: Array, weight: Array, grad_x: Array) -> None:
        """grad_x = grad_y @ weight.T."""
        np.matmul(grad_y, weight.T, out=grad_x)


class Dense(Layer):
    """Affine map ``y = scale * (x @ weight) + bias``.

    `scale` is 1 but for the layer that sees images: they are bytes 0..255, and it is cheaper to
    divide the few outputs than the many pixels.
    """

    def __init__(
        self,
        fan_out: int,
        *,
        init: Init = "he",
        init_std: float = 0.01,
        scale: float = 1.0,
        matmul: Matmul | None = None,
    ) -> None:
        super().__init__()
        self.fan_out, self.init, self.init_std, self.scale = fan_out, init, init_std, scale
        self.matmul = Matmul() if matmul is None else matmul

    def units(self, fan_in: int) -> int:
        return self.fan_out

    def parameter_shapes(self, fan_in: int) -> Sequence[tuple[int, ...]]:
        return (fan_in, self.fan_out), (self.fan_out,)

    def bind(self, parameters: Array, gradient: Array, fan_in: int) -> None:
        """Weight and bias are views; in which order of memory, the products decide."""
        end = fan_in * self.fan_out
        for flat, views in ((parameters, self.parameters), (gradient, self.gradients)):
            views += [self.matmul.weight_view(flat[:end], fan_in, self.fan_out), flat[end:]]
        self._grad_bias = gradient[np.newaxis, end:]

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the weights; biases start at 0."""
        weight, _ = self.parameters
        fan_in, fan_out = weight.shape
        weight[:] = initial_weights(fan_in, fan_out, self.init, self.init_std, rng)

    def forward(self, x: Array, y: Array, *, training: bool) -> None:
        weight, bias = self.parameters
        self.matmul.forward(x, weight, y)
        if self.scale != 1:
            y *= self.scale
        y += bias

    def backward(self, x: Array, y: Array, grad_y: Array, grad_x: Array | None) -> None:
        """Bishop, PRML (2006), eqs. 5.53 and 5.56, for a whole batch."""
        weight, _ = self.parameters
        grad_weight, grad_bias = self.gradients[0], self._grad_bias
        # ones @ grad_y is the sum over the batch, at BLAS's speed
        np.matmul(_row_of_ones(len(y), y.dtype.char), grad_y, out=grad_bias)
        if self.scale != 1:
            grad_y *= self.scale  # from here on the gradient at x @ weight
        self.matmul.weight_gradient(x, grad_y, grad_weight)
        if grad_x is not None:
            self.matmul.input_gradient(grad_y, weight, grad_x)


@functools.cache
def _row_of_ones(batch: int, dtype: str) -> Array:
    return np.ones((1, batch), dtype)


class Activation(Layer):
    """An element-wise function, in place: its derivative follows from its own output."""

    in_place = True

    def derivative(self, y: Array) -> None:
        """Overwrite outputs `y` by the function's derivative there."""
        raise NotImplementedError

    def backward(self, x: Array, y: Array, grad_y: Array, grad_x: Array | None) -> None:
        """Chain rule: grad_x = grad_y * f'(x)."""
        if grad_x is not None:
            self.derivative(y)
            np.multiply(grad_y, y, out=grad_x)


# The bounds of `Relu` as arrays of each type: clip takes twice the time with Python's numbers.
_ABOVE_ZERO = {np.dtype(t): (np.zeros((), t), np.full((), np.inf, t)) for t in ("f4", "f8")}


class Relu(Activation):
    """max(x, 0)."""

    def forward(self, x: Array, y: Array, *, training: bool) -> None:
        """As a clip: NumPy has vector instructions for it, a third of the time of `maximum`."""
        x.clip(*_ABOVE_ZERO[x.dtype], out=y)

    def derivative(self, y: Array) -> None:
        """1 where the unit is active, else 0, as numbers: no array of booleans in between."""
        np.greater(y, 0, out=y)


class Sigmoid(Activation):
    """1 / (1 + exp(-x)) as (1 + tanh(x / 2)) / 2: the same function, and it never overflows."""

    def forward(self, x: Array, y: Array, *, training: bool) -> None:
        np.multiply(x, 0.5, out=y)
        np.tanh(y, out=y)
        y += 1
        y *= 0.5

    def derivative(self, y: Array) -> None:
        """y (1 - y), as 1/4 - (y - 1/2)²: in place."""
        y -= 0.5
        np.square(y, out=y)
        np.subtract(0.25, y, out=y)


class Tanh(Activation):
    """Hyperbolic tangent."""

    def forward(self, x: Array, y: Array, *, training: bool) -> None:
        np.tanh(x, out=y)

    def derivative(self, y: Array) -> None:
        """1 - y²."""
        np.square(y, out=y)
        np.subtract(1, y, out=y)


ACTIVATIONS: dict[str, type[Activation]] = {"relu": Relu, "sigmoid": Sigmoid, "tanh": Tanh}


def initial_weights(
    fan_in: int, fan_out: int, init: str, std: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a (fan_in, fan_out) matrix, in float64: a seed means the same in any dtype.

    Args: init: `normal` N(0, std²); `he` N(0, 2 / fan_in) (He et al. 2015, eq. 10); `glorot`
        U(-a, a), a² = 6 / (fan_in + fan_out) (Glorot & Bengio 2010, eq. 16).
    Raises: ValueError for another name or a negative std.
    """
    if not 0 <= std < math.inf:
        raise ValueError(f"init_std >= 0 must hold, got init_std={std}")
    if init == "normal":
        return rng.normal(0, std, (fan_in, fan_out))
    if init == "he":
        return rng.normal(0, math.sqrt(2 / fan_in), (fan_in, fan_out))
    if init == "glorot":
        bound = math.sqrt(6 / (fan_in + fan_out))
        return rng.uniform(-bound, bound, (fan_in, fan_out))
    raise ValueError(f"init must be one of normal, he, glorot, got {init}")
