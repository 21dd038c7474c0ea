"""A network of any depth: depth 1 is softmax regression, depth L has L weight layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mnist_study.nn.fast.packed import Extents, ImagePass
from mnist_study.nn.layers import ACTIVATIONS, NARROW, WIDE, Array, Dense, DensePass
from mnist_study.nn.losses import CrossEntropy, Gradient, Labels

GREY_LEVELS = 255  # images are bytes; the network sees them divided by this, in [0, 1]
CHUNK = 2000  # images a pass, at most: as float32 they are 6 MB
SMALL, SMALL_CHUNK = 2**14, 300  # parameters whose sums cost so little that 1 MB is better


@dataclass(frozen=True, slots=True)
class Pass:
    """A network at work on batches of one size: buffers made once and used again each step."""

    first: ImagePass
    layers: list[DensePass]  # all of them
    cross_entropy: CrossEntropy


class Network:
    """Dense layers with one activation between them; the last layer's outputs are logits.

    All parameters lie in one flat vector, `parameters`, and their gradient in `gradient`; each
    layer holds views of both. An optimizer needs to know nothing else. A pass takes least time an
    image with at most `chunk` images.
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
        self.layers = list(self._lay_out(shapes))
        for weight in self.weights:
            fan_in, fan_out = weight.shape
            weight[:] = initial_weights(fan_in, fan_out, init, init_std, rng)
        self.chunk = CHUNK if self.parameters.size > SMALL else SMALL_CHUNK
        self._sum: Array = np.zeros_like(self.parameters)  # of the gradients of a batch's chunks
        self._passes: dict[int, Pass] = {}

    def _lay_out(self, shapes: Sequence[tuple[int, int]]) -> Iterator[Dense]:
        """The layers, one behind the other in the flat vectors; only the first one sees bytes."""
        start = 0
        for index, (fan_in, fan_out) in enumerate(shapes):
            end = start + fan_in * fan_out + fan_out
            values = _views(self.parameters[start:end], fan_in, fan_out)
            grads = _views(self.gradient[start:end], fan_in, fan_out)
            yield Dense(*values, *grads, scale=1 / GREY_LEVELS if index == 0 else 1.0)
            start = end

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
        return self._forward(images, None).cross_entropy.logits

    def loss(
        self, images: NDArray[np.uint8], labels: Labels, extents: Extents | None = None
    ) -> tuple[float, int]:
        """Loss in nats per image and number of correct images of a batch."""
        return self._forward(images, extents).cross_entropy(labels, None)

    def loss_and_gradient(
        self,
        images: NDArray[np.uint8],
        labels: Labels,
        gradient: Gradient = "exact",
        scale: float = 1.0,
        extents: Extents | None = None,
    ) -> tuple[float, int]:
        """Loss in nats per image and number of correct images of a batch; writes `self.gradient`.

        Args:
            images: (batch, pixels), grey values 0 to 255.
            labels: (batch,), in [0, classes).
            gradient: see `CrossEntropy`.
            scale: of the loss that the gradient is of.
            extents: (batch,), see `LitProducts`; None: all pixels count.

        A large batch goes through in chunks whose gradients are summed: the images of a chunk are
        still near the core when the backward pass needs them again.
        """
        n = len(labels)
        factor = scale / n
        if n <= self.chunk:
            return self._pass(images, labels, extents, gradient, factor)
        loss_sum, correct_sum = 0.0, 0
        self._sum.fill(0)
        for start in range(0, n, self.chunk):
            part = slice(start, start + self.chunk)
            lit = None if extents is None else extents[part]
            loss, correct = self._pass(images[part], labels[part], lit, gradient, factor)
            loss_sum += loss * len(labels[part])
            correct_sum += correct
            self._sum += self.gradient
        np.copyto(self.gradient, self._sum)
        return loss_sum / n, correct_sum

    def _pass(
        self,
        images: NDArray[np.uint8],
        labels: Labels,
        extents: Extents | None,
        gradient: Gradient,
        factor: float,
    ) -> tuple[float, int]:
        """Forward and backward of images that may be a part of a larger batch."""
        at = self._forward(images, extents)
        loss, correct = at.cross_entropy(labels, gradient, factor)
        for layer in reversed(at.layers):
            layer.backward()
            if layer.grad_x is not None:
                self.activation.slope(layer.x)  # x has served; it becomes the derivative
                layer.grad_x *= layer.x
        return loss, correct

    def _forward(self, images: NDArray[np.uint8], extents: Extents | None) -> Pass:
        at = self._passes.get(len(images)) or self._set_up(len(images))
        at.first.load(images, extents)
        for layer in at.layers[:-1]:
            layer.forward()
            self.activation.apply(layer.y)
        at.layers[-1].forward()
        return at

    def _set_up(self, batch: int) -> Pass:
        dtype = self.parameters.dtype
        classes = len(self.layers[-1].bias)
        hidden = [len(layer.bias) for layer in self.layers[:-1]]

        def outputs() -> list[Array]:
            orders: list[Literal["C", "F"]] = ["F" if u >= WIDE else "C" for u in hidden]
            shapes = zip(hidden, orders, strict=True)
            return [np.empty((batch, units), dtype, order) for units, order in shapes]

        cross_entropy = CrossEntropy(batch, classes, dtype)
        values = [*outputs(), cross_entropy.logits]
        grads = [*outputs(), cross_entropy.gradient]
        first = ImagePass(self.layers[0], values[0], grads[0])
        others = [
            DensePass(layer, values[k - 1], values[k], grads[k], grads[k - 1])
            for k, layer in enumerate(self.layers[1:], 1)
        ]
        self._passes[batch] = Pass(first, [first, *others], cross_entropy)
        return self._passes[batch]


def _views(flat: Array, fan_in: int, fan_out: int) -> tuple[Array, Array]:
    """Weight (fan_in, fan_out) and bias (fan_out,) in a flat vector.

    Which index runs fastest in memory changes nothing but BLAS's time, as measured: narrow
    weights gain most when they lie output after output, as their outputs do in the loss; wide
    ones some 4 %, if the outputs (batch, units) lie unit after unit as well; in between, the
    plain order is the better one.
    """
    weight, bias = flat[: fan_in * fan_out], flat[fan_in * fan_out :]
    if fan_out < NARROW or fan_out >= WIDE:
        return weight.reshape(fan_out, fan_in).T, bias
    return weight.reshape(fan_in, fan_out), bias


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
