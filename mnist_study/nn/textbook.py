"""The whole trainer as a textbook writes it: no buffer is used twice, no product is split.

A network of depth L has weights W1 .. WL and biases b1 .. bL. Its hidden layers share one
activation f; softmax turns the last sums into probabilities. Arrays are float64, one image a row.

    python -m mnist_study.nn.textbook      # 784-100-10, two epochs on MNIST, half a minute

`network`, `optimizers` and `training` compute the same, faster; a test compares them step by step.
Equations: Bishop, Pattern Recognition and Machine Learning (2006), unless another source is named.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.integer[Any]]
Memory = dict[str, Array]
Rule = Callable[[Array, Array, Memory, int, float], Array]

# An activation f(z), and its derivative f'(z).
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
}


def initialise(sizes: Sequence[int], rng: np.random.Generator) -> tuple[list[Array], list[Array]]:
    """Weights N(0, 2 / fan_in), biases 0 (He et al. 2015, eq. 10); sizes such as [784, 100, 10]."""
    pairs = list(itertools.pairwise(sizes))
    weights = [rng.normal(0, np.sqrt(2 / fan_in), (fan_in, units)) for fan_in, units in pairs]
    return weights, [np.zeros(units) for _, units in pairs]


def forward(
    weights: Sequence[Array], biases: Sequence[Array], images: Array, activation: str = "relu"
) -> tuple[list[Array], list[Array]]:
    """What enters each layer, and its sums z = a W + b (eqs. 5.48-5.49).

    Args: images: (batch, pixels), in [0, 1].
    Returns: per layer the inputs, (batch, fan_in), and the sums, (batch, units); the last sums are
        the logits.
    """
    f, _ = ACTIVATIONS[activation]
    inputs, sums = [images], []
    for weight, bias in zip(weights, biases, strict=True):
        sums.append(inputs[-1] @ weight + bias)
        inputs.append(f(sums[-1]))
    return inputs[:-1], sums


def softmax(logits: Array) -> Array:
    """p = exp(z) / sum exp(z), (eq. 4.104); less the largest z, no exponential overflows."""
    exponentials: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: Array = exponentials.sum(axis=1, keepdims=True)
    return exponentials / total


def cross_entropy(logits: Array, labels: Labels) -> float:
    """Mean of -log p_c over the images, c an image's own class (eq. 4.108); nats per image."""
    return float(-np.log(softmax(logits)[np.arange(len(labels)), labels]).mean())


def backward(
    weights: Sequence[Array],
    inputs: Sequence[Array],
    sums: Sequence[Array],
    labels: Labels,
    activation: str = "relu",
    gradient: str = "exact",
) -> list[Array]:
    """The loss's gradient by every parameter: [W1, b1, W2, b2, ...] (eqs. 5.53-5.56).

    At the logits it is (p - y) / batch (eq. 4.109), y one-hot. The report's derivation leaves out
    the classes that an image does not have: y (p - 1) / batch.
    """
    _, derivative = ACTIVATIONS[activation]
    p, y = softmax(sums[-1]), np.eye(sums[-1].shape[1])[labels]
    delta = (p - y if gradient == "exact" else y * (p - 1)) / len(labels)  # (batch, units)
    gradients: list[Array] = []
    for layer in reversed(range(len(weights))):
        gradients = [inputs[layer].T @ delta, delta.sum(axis=0), *gradients]
        if layer > 0:
            delta = (delta @ weights[layer].T) * derivative(sums[layer - 1])
    return gradients


# The five update rules: how far a parameter p with gradient g moves in step t = 1, 2, ... at a
# rate; `memory` keeps what the rule remembers of the steps before, by name, 0 at first.


def sgd(p: Array, g: Array, memory: Memory, t: int, rate: float) -> Array:
    """Gradient descent (eq. 5.41)."""
    return -rate * g


def momentum(p: Array, g: Array, memory: Memory, t: int, rate: float, mu: float = 0.9) -> Array:
    """The heavy ball (Polyak 1964): v = mu v + g."""
    memory["v"] = mu * memory.get("v", 0) + g
    return -rate * memory["v"]


def nesterov(p: Array, g: Array, memory: Memory, t: int, rate: float, mu: float = 0.9) -> Array:
    """Nesterov's momentum (Sutskever et al. 2013, eqs. 3-4, at the point ahead)."""
    memory["v"] = mu * memory.get("v", 0) + g
    return -rate * (g + mu * memory["v"])


def adam(p: Array, g: Array, memory: Memory, t: int, rate: float) -> Array:
    """Running means of g and g², corrected for their start at 0 (Kingma & Ba 2015, algorithm 1)."""
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    memory["m"] = beta1 * memory.get("m", 0) + (1 - beta1) * g
    memory["s"] = beta2 * memory.get("s", 0) + (1 - beta2) * g**2
    mean, square = memory["m"] / (1 - beta1**t), memory["s"] / (1 - beta2**t)
    return -rate * mean / (np.sqrt(square) + eps)


def adamw(p: Array, g: Array, memory: Memory, t: int, rate: float, decay: float = 0.01) -> Array:
    """Adam, and weight decay beside it (Loshchilov & Hutter 2019, algorithm 2)."""
    return adam(p, g, memory, t, rate) - rate * decay * p


def train(
    weights: list[Array],
    biases: list[Array],
    images: Array,
    labels: Labels,
    *,
    rule: Rule = momentum,
    rate: float = 0.05,
    batch_size: int = 64,
    epochs: int = 2,
    rng: np.random.Generator,
) -> Iterator[float]:
    """Mini-batch training in place; yield each epoch's mean loss of its batches."""
    parameters = [p for pair in zip(weights, biases, strict=True) for p in pair]
    memories: list[Memory] = [{} for _ in parameters]
    t = 0
    for _ in range(epochs):
        losses = []
        order = rng.permutation(len(labels))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            inputs, sums = forward(weights, biases, images[rows])
            losses.append(cross_entropy(sums[-1], labels[rows]))
            gradients = backward(weights, inputs, sums, labels[rows])
            t += 1
            for p, g, memory in zip(parameters, gradients, memories, strict=True):
                p += rule(p, g, memory, t, rate)
        yield float(np.mean(losses))


def main() -> None:
    """Train 784-100-10 on MNIST's 60,000 images and print its accuracy on the test set."""
    from mnist_study.data import mnist

    dataset = mnist(validation=0, split_seed=0, cache=None)
    rng = np.random.default_rng(0)
    weights, biases = initialise([784, 100, 10], rng)
    images, labels = dataset.train.images / 255, dataset.train.labels
    for epoch, loss in enumerate(train(weights, biases, images, labels, rng=rng), 1):
        print(f"epoch {epoch}: loss {loss:.4f} nats per image")
    _, sums = forward(weights, biases, dataset.test.images / 255)
    print(f"test accuracy {(sums[-1].argmax(axis=1) == dataset.test.labels).mean():.2%}")


if __name__ == "__main__":
    main()
