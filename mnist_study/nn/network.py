"""A network of any depth: depth 1 is softmax regression, depth L has L weight layers."""

from __future__ import annotations

import copy
import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from mnist_study.data import Split
from mnist_study.nn import fast  # or, without that folder: from mnist_study.nn import feed as fast
from mnist_study.nn.feed import GREY_LEVELS, Batch, Feed, Images
from mnist_study.nn.feed import Input as PlainInput
from mnist_study.nn.layers import ACTIVATIONS, Array, Dense, Init, Layer
from mnist_study.nn.losses import Loss

CHUNK = 2000  # images a pass, at most: as float32 they are 6 MB
SMALL, SMALL_CHUNK = 2**14, 300  # parameters whose sums cost so little that 1 MB is better


@dataclass(frozen=True, slots=True)
class Pass:
    """Buffers for batches of one size, made once and used again each step."""

    values: list[Array]  # the input, then each layer's output, (batch, units)
    grads: list[Array | None]  # the gradients there; None where nobody asks


class Network:
    """Dense layers with one activation between them; the last layer's outputs are logits.

    All parameters lie in one flat vector, `parameters`, and their gradient in `gradient`; each
    layer holds views of both. An optimizer needs to know nothing else. How the first layer's part
    is ordered is the network's own affair: `weights` has the pixels row by row.
    A pass takes least time an image with at most `chunk` images.

    Args:
        pixels, classes: size of an image and number of logits.
        depth: number of weight layers, as in "L-layer network".
        width: units of each hidden layer, unless `hidden` names them one by one.
        hidden: units of the hidden layers; its length then sets the depth.
        activation: behind each hidden layer: relu, sigmoid, tanh, or a layer.
        init, init_std: see `initial_weights`; biases start at zero.
        rng: draws the first weights; each layer gets a stream of its own from the same seed.
        input_layers: layers between the image, in [0, 1], and the first weights.
        hidden_layers: layers behind each activation.
    Raises: ValueError for a size below 1 or an unknown name.
    """

    def __init__(
        self,
        pixels: int,
        classes: int,
        *,
        depth: int,
        width: int,
        hidden: Sequence[int] | None = None,
        activation: str | Layer,
        init: Init,
        init_std: float,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
        input_layers: Sequence[Layer] = (),
        hidden_layers: Sequence[Layer] = (),
    ) -> None:
        sizes = [*_hidden_sizes(depth, width, hidden), classes]
        plain = bool(input_layers)  # what they give is neither bytes nor mostly 0
        self.input = PlainInput(sizes[0]) if plain else fast.Input(sizes[0])
        self._grey = 1 / GREY_LEVELS if plain else 1.0
        scale = 1.0 if plain else 1 / GREY_LEVELS
        first = self.input if not plain else fast.Matmul()
        self.dense = [Dense(sizes[0], init=init, init_std=init_std, scale=scale, matmul=first)]
        self.layers: list[Layer] = [*input_layers, self.dense[0]]
        for units in sizes[1:]:
            behind = [_activation(activation), *hidden_layers]
            dense = Dense(units, init=init, init_std=init_std, matmul=fast.Matmul())
            self.layers += [*(copy.deepcopy(layer) for layer in behind), dense]
            self.dense.append(dense)
        self._lay_out(pixels, dtype, rng)
        self.chunk = CHUNK if self.parameters.size > SMALL else SMALL_CHUNK
        self._passes: dict[int, Pass] = {}

    def _lay_out(self, pixels: int, dtype: DTypeLike, rng: np.random.Generator) -> None:
        """Put all layers' parameters one behind the other into the flat vectors, and draw them."""
        self.units = [pixels]  # before and behind each layer
        counts = []
        for layer in self.layers:
            shapes = layer.parameter_shapes(self.units[-1])
            counts.append(sum(math.prod(shape) for shape in shapes))
            self.units.append(layer.units(self.units[-1]))
        _check_memory(3 * sum(counts) * np.dtype(dtype).itemsize)
        self.parameters: Array = np.zeros(sum(counts), dtype)
        self.gradient: Array = np.zeros_like(self.parameters)
        self._sum: Array = np.zeros_like(self.parameters)  # of the gradients of a batch's chunks
        ends = list(itertools.accumulate(counts, initial=0))
        self._first = next(k for k, count in enumerate(counts) if count)  # below it nothing learns
        for k, (layer, stream) in enumerate(zip(self.layers, rng.spawn(len(counts)), strict=True)):
            part = slice(ends[k], ends[k + 1])
            layer.rng = stream
            layer.bind(self.parameters[part], self.gradient[part], self.units[k])
            layer.initialise(rng)

    @property
    def weights(self) -> list[Array]:
        """Copies of the weight matrices, (fan_in, fan_out), first layer first, pixels row by row.

        They are read-only: to change weights, assign the whole list.
        """
        first, *others = (layer.parameters[0] for layer in self.dense)
        return _read_only([self.input.to_pixels(first), *(weight.copy() for weight in others)])

    @weights.setter
    def weights(self, weights: Sequence[Array]) -> None:
        first, *others = weights
        first = self.input.from_pixels(np.asarray(first))
        for layer, weight in zip(self.dense, [first, *others], strict=True):
            layer.parameters[0][:] = weight

    @property
    def biases(self) -> list[Array]:
        """Copies of the bias vectors, (fan_out,), first layer first; read-only, as `weights`."""
        return _read_only([layer.parameters[1].copy() for layer in self.dense])

    @biases.setter
    def biases(self, biases: Sequence[Array]) -> None:
        for layer, bias in zip(self.dense, biases, strict=True):
            layer.parameters[1][:] = bias

    def prepare(self, split: Split) -> Feed:
        """The split as this network reads it; once for all steps.

        The first one should be the training set: its images may decide in which order the first
        weights lie. So prepare it before an optimizer has made a step.
        """
        return self.input.feed(split, self.dense[0].parameters[0])

    def logits(self, images: Images) -> Array:
        """Forward pass of pictures, (batch, pixels).

        Returns: (batch, classes), valid until the next call.
        """
        return self._forward(Batch(images, np.empty(0, np.intp)), training=False).values[-1]

    def loss(self, batch: Batch, loss: Loss) -> tuple[float, int]:
        """Loss an image and number of correct images of a batch."""
        logits = self._forward(batch, training=False).values[-1]
        return loss(logits, batch.labels)

    def loss_and_gradient(self, batch: Batch, loss: Loss) -> tuple[float, int]:
        """Loss an image and number of correct images of a batch; writes `self.gradient`.

        A large batch goes through in chunks whose gradients are summed: the images of a chunk are
        still near the core when the backward pass needs them again.
        """
        n = len(batch.labels)
        if n <= self.chunk:
            return self._forward_backward(batch, loss, 1 / n)
        loss_sum, correct_sum = 0.0, 0
        self._sum.fill(0)
        for start in range(0, n, self.chunk):
            part = batch.part(start, start + self.chunk)
            value, correct = self._forward_backward(part, loss, 1 / n)
            loss_sum += value * len(part.labels)
            correct_sum += correct
            self._sum += self.gradient
        np.copyto(self.gradient, self._sum)
        return loss_sum / n, correct_sum

    def _forward_backward(self, batch: Batch, loss: Loss, factor: float) -> tuple[float, int]:
        """Both passes of images that may be a part of a larger batch."""
        at = self._forward(batch, training=True)
        value = loss(at.values[-1], batch.labels, factor)
        for k in reversed(range(self._first, len(self.layers))):
            grad_y = at.grads[k + 1]
            assert grad_y is not None
            self.layers[k].backward(at.values[k], at.values[k + 1], grad_y, at.grads[k])
        return value

    def _forward(self, batch: Batch, *, training: bool) -> Pass:
        size = len(batch.images)
        at = self._passes.get(size) or self._set_up(size)
        self.input.load(batch, at.values[0])
        if self._grey != 1:
            at.values[0] *= self._grey
        for layer, x, y in zip(self.layers, at.values, at.values[1:], strict=False):
            layer.forward(x, y, training=training)
        return at

    def _set_up(self, batch: int) -> Pass:
        """Memory for values and gradients; the logits lie class by class, as losses want them."""
        dtype = self.parameters.dtype
        values: list[Array] = [np.empty((batch, self.units[0]), dtype)]
        grads: list[Array | None] = [None]
        logits = np.empty((self.units[-1], batch), dtype).T
        for k, layer in enumerate(self.layers, 1):
            if k == len(self.layers):
                values.append(logits)
                grads.append(logits)
            elif layer.in_place and k > 1:
                values.append(values[-1])
                grads.append(grads[-1])
            else:
                values.append(fast.output_buffer(batch, self.units[k], dtype))
                asked = k > self._first
                grads.append(fast.output_buffer(batch, self.units[k], dtype) if asked else None)
        at = self._passes[batch] = Pass(values, grads)
        return at


def _activation(activation: str | Layer) -> Layer:
    if isinstance(activation, Layer):
        return activation
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation}")
    return ACTIVATIONS[activation]()


def _read_only(arrays: list[Array]) -> list[Array]:
    for array in arrays:
        array.flags.writeable = False
    return arrays


def _check_memory(needed: int) -> None:
    """Refuse vectors that no memory can hold: the system promises it, and kills who uses it."""
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > here:
        facts = f"{needed / 1e9:,.0f} GB are needed, this machine has {here / 1e9:,.0f} GB"
        raise MemoryError(f"the network must fit into memory, {facts}")


def _hidden_sizes(depth: int, width: int, hidden: Sequence[int] | None) -> list[int]:
    if hidden is not None:
        if not hidden:
            raise ValueError("hidden must name a layer or be null; depth=1 has none, got hidden=[]")
        if any(units < 1 for units in hidden):
            raise ValueError(f"hidden >= 1 must hold for every layer, got hidden={list(hidden)}")
        return list(hidden)
    for name, value in (("depth", depth), ("width", width)):
        if value < 1:
            raise ValueError(f"{name} >= 1 must hold, got {name}={value}")
    return [width] * (depth - 1)
