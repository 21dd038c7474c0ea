"""A network of any depth: depth 1 is softmax regression, depth L has L weight layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mnist_study.layers import ACTIVATIONS, Array, Dense
from mnist_study.losses import Gradient, softmax_cross_entropy

GREY_LEVELS = 255  # images are bytes; the network sees them divided by this, in [0, 1]


@dataclass(frozen=True, slots=True)
class Buffers:
    """What one pass over a batch writes; made once for a batch size and used again each step."""

    outputs: list[Array]  # (batch, units): the scaled images, then each layer's output
    grads: list[Array]  # (batch, units): the loss's gradient at each hidden layer's output
    ones: Array  # (batch,)


class Network:
    """Dense layers with one activation between them; the last layer's outputs are logits.

    All parameters lie in one flat vector, `parameters`, and their gradient in `gradient`; each
    layer holds views of both. An optimizer needs to know nothing else.
    """

    def __init__(
        self,
        pixels: int,
        classes: int,
        *,
        depth: int,
        width: int,
        hidden: Sequence[int] | None = None,
        activation: Literal["relu", "sigmoid", "tanh"],
        init: Literal["normal", "he", "glorot"],
        init_std: float,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        """Draw the weights; biases start at zero.

        Args:
            pixels, classes: size of an image and number of logits.
            depth: number of weight layers, as in "L-layer network".
            width: units of each hidden layer, unless `hidden` names them one by one.
            hidden: units of the hidden layers; its length then sets the depth.
            activation: between layers.
            init: `normal` N(0, init_std²); `he` N(0, 2 / fan_in) (He et al. 2015, eq. 10);
                `glorot` U(-a, a), a² = 6 / (fan_in + fan_out) (Glorot & Bengio 2010, eq. 16).
        Raises: ValueError for a size below 1 or an unknown name.
        """
        sizes = [pixels, *_hidden_sizes(depth, width, hidden), classes]
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation}"
            )
        self.activation = ACTIVATIONS[activation]
        shapes = list(itertools.pairwise(sizes))
        self.parameters: Array = np.zeros(sum(i * o + o for i, o in shapes), dtype)
        self.gradient: Array = np.zeros_like(self.parameters)
        self.layers: list[Dense] = []
        start = 0
        for fan_in, fan_out in shapes:
            middle, end = start + fan_in * fan_out, start + fan_in * fan_out + fan_out
            self.layers.append(
                Dense(
                    weight=self.parameters[start:middle].reshape(fan_in, fan_out),
                    bias=self.parameters[middle:end],
                    grad_weight=self.gradient[start:middle].reshape(fan_in, fan_out),
                    grad_bias=self.gradient[middle:end],
                )
            )
            self.layers[-1].weight[:] = initial_weights(fan_in, fan_out, init, init_std, rng)
            start = end
        self._buffers: dict[int, Buffers] = {}

    @property
    def weights(self) -> list[Array]:
        """Views of the weight matrices, first layer first, each (fan_in, fan_out)."""
        return [layer.weight for layer in self.layers]

    @property
    def biases(self) -> list[Array]:
        """Views of the bias vectors, first layer first, each (fan_out,)."""
        return [layer.bias for layer in self.layers]

    def logits(self, images: NDArray[np.uint8]) -> Array:  # images: (batch, pixels)
        """Forward pass; the result, (batch, classes), is valid until the next call."""
        outputs = self._buffers_for(len(images)).outputs
        np.multiply(images, self.parameters.dtype.type(1 / GREY_LEVELS), out=outputs[0])
        for layer, x, y in zip(self.layers, outputs[:-1], outputs[1:], strict=True):
            layer.forward(x, y)
            if layer is not self.layers[-1]:
                self.activation.apply(y)
        return outputs[-1]

    def loss_and_gradient(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.integer[Any]],
        gradient: Gradient = "exact",
    ) -> tuple[float, int]:
        """Loss in nats per image and number of correct images of a batch; writes `self.gradient`.

        Args:
            images: (batch, pixels), grey values 0 to 255.
            labels: (batch,), in [0, classes).
            gradient: see `softmax_cross_entropy`.
        """
        grad = self.logits(images)
        loss, correct = softmax_cross_entropy(grad, labels, gradient)  # grad: now the gradient
        buffers = self._buffers_for(len(images))
        for index in reversed(range(len(self.layers))):
            x = buffers.outputs[index]
            grad_x = buffers.grads[index - 1] if index > 0 else None
            self.layers[index].backward(grad, x, buffers.ones, grad_x)
            if grad_x is not None:
                self.activation.slope(x)  # x has served; it becomes the activation's derivative
                grad_x *= x
                grad = grad_x
        return loss, correct

    def _buffers_for(self, batch: int) -> Buffers:
        if batch not in self._buffers:
            dtype = self.parameters.dtype
            sizes = [self.layers[0].weight.shape[0], *(len(layer.bias) for layer in self.layers)]
            self._buffers[batch] = Buffers(
                outputs=[np.empty((batch, size), dtype) for size in sizes],
                grads=[np.empty((batch, size), dtype) for size in sizes[1:-1]],
                ones=np.ones(batch, dtype),
            )
        return self._buffers[batch]


def initial_weights(
    fan_in: int, fan_out: int, init: str, std: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a (fan_in, fan_out) matrix, in float64: a seed means the same in any dtype."""
    if init == "normal":
        if not std >= 0:
            raise ValueError(f"init_std >= 0 must hold, got init_std={std}")
        return rng.normal(0, std, (fan_in, fan_out))
    if init == "he":
        return rng.normal(0, math.sqrt(2 / fan_in), (fan_in, fan_out))
    if init == "glorot":
        bound = math.sqrt(6 / (fan_in + fan_out))
        return rng.uniform(-bound, bound, (fan_in, fan_out))
    raise ValueError(f"init must be one of normal, he, glorot, got {init}")


def _hidden_sizes(depth: int, width: int, hidden: Sequence[int] | None) -> list[int]:
    if hidden is not None:
        if any(units < 1 for units in hidden):
            raise ValueError(f"hidden >= 1 must hold for every layer, got hidden={list(hidden)}")
        return list(hidden)
    if depth < 1:
        raise ValueError(f"depth >= 1 must hold, got depth={depth}")
    if width < 1:
        raise ValueError(f"width >= 1 must hold, got width={width}")
    return [width] * (depth - 1)
