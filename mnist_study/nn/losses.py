"""Losses: the value of a batch's logits and the gradient there, in one call.

A new loss is a class with `__call__` and a line of YAML (`loss._target_`).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_study.nn.layers import Array

Gradient = Literal["exact", "report"]
Labels = NDArray[np.integer[Any]]


class Loss:
    """What the trainer needs of a loss."""

    def __call__(
        self, logits: Array, labels: Labels, factor: float | None = None
    ) -> tuple[float, int]:
        """Mean loss of a batch and the number of images that are classified correctly.

        Args:
            logits: (batch, classes), class by class in memory; overwritten by the gradient of
                `factor` times the sum of the images' losses.
            labels: (batch,), integers in [0, classes).
            factor: 1 / batch makes it the gradient of the mean; None: only the value is wanted,
                and what `logits` holds afterwards is undefined.
        Returns: loss per image, NaN or infinite if a logit is; images whose largest logit is
            their label's (the first of equals counts).
        """
        raise NotImplementedError


class CrossEntropy(Loss):
    """Cross-entropy of a softmax classifier, in nats per image.

    With p = softmax(z), the loss of an image of class c is L = log(sum_l exp(z_l)) - z_c. The
    logarithm's derivative is exp(z_m) / sum_l exp(z_l) = p_m, and z_c adds -1 for m = c alone:

        dL/dz_m = p_m - y_m,                 y one-hot; all classes take part ("exact").

    The report keeps only the diagonal dp_m/dz_m = p_m (1 - p_m) of the softmax Jacobian, and
    -y_m / p_m times that is

        dL/dz_m = y_m (p_m - 1),             wrong classes get no gradient at all ("report").

    All of it works on the transpose, (classes, batch): NumPy then takes the maximum and the sum
    over classes with vectors of images, 20 times as fast as over rows of ten numbers.

    Source: Bishop, PRML (2006), eqs. 4.108-4.109.
    """

    def __init__(self, *, gradient: Gradient = "exact") -> None:
        """Args: gradient: which of the two derivations. Raises: ValueError for another name."""
        if gradient not in ("exact", "report"):
            raise ValueError(f"gradient must be one of exact, report, got {gradient}")
        self.gradient = gradient
        self._buffers: dict[tuple[int, ...], Buffers] = {}

    def __call__(
        self, logits: Array, labels: Labels, factor: float | None = None
    ) -> tuple[float, int]:
        """See `Loss`; logits of any finite scale are safe."""
        buffers = self._buffers.get(logits.shape)
        if buffers is None or buffers.own.dtype != logits.dtype:
            buffers = self._buffers[logits.shape] = Buffers(logits)
        by_class = logits.flags.f_contiguous  # as a network's are; a caller's array is copied
        z = logits.T if by_class else logits.T.copy()  # (classes, batch)
        flat = z.reshape(-1)
        loss, correct = self._values(z, flat, labels, buffers)
        if factor is not None:
            z *= np.divide(factor, buffers.totals, out=buffers.totals)  # factor p
            own = flat.take(buffers.at_label, out=buffers.own, mode="clip")
            own -= factor  # factor (p_c - 1), of each image's own class c
            if self.gradient == "report":
                z.fill(0)
            flat[buffers.at_label] = own
        if not by_class:
            logits[:] = z.T
        return loss, correct

    def _values(self, z: Array, flat: Array, labels: Labels, buffers: Buffers) -> tuple[float, int]:
        """Loss per image and correct images; `z` becomes exp(logit - largest)."""
        z -= np.maximum.reduce(z, axis=0, out=buffers.largest)  # at most 0
        np.multiply(labels, len(labels), out=buffers.at_label, dtype=np.intp)
        np.add(buffers.at_label, buffers.rows, out=buffers.at_label)
        # mode "clip" writes straight into `out`; labels are in range
        own = flat.take(buffers.at_label, out=buffers.own, mode="clip")  # (batch,)
        correct = _count_correct(z, own, labels)
        np.exp(z, out=z)  # in (0, 1]: the largest is exp(0)
        totals = np.add.reduce(z, axis=0, out=buffers.totals)  # (batch,), in [1, classes]
        losses = np.log(totals, out=buffers.largest)
        losses -= own
        return float(np.add.reduce(losses)) / len(labels), correct


class Buffers:
    """What one call on a batch of this size writes, used again by the next."""

    def __init__(self, logits: Array) -> None:
        batch = len(logits)
        self.rows = np.arange(batch)
        self.at_label = np.empty(batch, np.intp)  # where in the flat logits each own class lies
        self.largest, self.totals, self.own = np.empty((3, batch), logits.dtype)


def _count_correct(z: Array, own: Array, labels: Labels) -> int:
    """Images whose own logit is the largest; `z` is the logits less the largest of each image.

    That logit is now 0. Only where an image has two largest logits does it
    matter which comes first, and `argmax`, ten times as slow, knows.
    """
    is_largest = z == 0
    ties = np.count_nonzero(is_largest) > len(labels)
    return int(np.count_nonzero(is_largest.argmax(axis=0) == labels if ties else own == 0))
