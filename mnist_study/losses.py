"""Softmax cross-entropy from logits: value and gradient in one pass."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_study.layers import Array

Gradient = Literal["exact", "report"]


def softmax(logits: Array) -> Array:
    """Probabilities, (batch, classes); without its row's maximum no exponential overflows."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def softmax_cross_entropy(
    logits: Array, labels: NDArray[np.integer[Any]], gradient: Gradient | None = "exact"
) -> tuple[float, int]:
    """Mean cross-entropy of a softmax classifier; `logits` is overwritten by the loss's gradient.

    With p = softmax(z), the loss of an image of class c is L = log(sum_l exp(z_l)) - z_c. The
    logarithm's derivative is exp(z_m) / sum_l exp(z_l) = p_m, and z_c adds -1 for m = c alone:

        dL/dz_m = p_m - y_m,                 y one-hot; all classes take part ("exact").

    The report keeps only the diagonal dp_m/dz_m = p_m (1 - p_m) of the softmax Jacobian, and
    -y_m / p_m times that is

        dL/dz_m = y_m (p_m - 1),             wrong classes get no gradient at all ("report").

    Args:
        logits: (batch, classes), unnormalised; any finite scale is safe. Overwritten: by the
            gradient, already divided by batch; if `gradient` is None its content is undefined.
        labels: (batch,), integers in [0, classes).
        gradient: which of the two derivations, or None where only the value is wanted.
    Returns: loss in nats per image, NaN or infinite if a logit is; how many images the largest
        logit classifies correctly (the first of equals counts).
    Source: Bishop, PRML (2006), eqs. 4.108-4.109.
    """
    batch = len(logits)
    rows = np.arange(batch)
    correct = int(np.count_nonzero(logits.argmax(axis=1) == labels))
    logits -= logits.max(axis=1, keepdims=True)
    label_logits = logits[rows, labels]  # (batch,)
    np.exp(logits, out=logits)  # in (0, 1]: the largest is exp(0)
    totals = logits.sum(axis=1)  # (batch,), in [1, classes]
    loss = float((np.log(totals) - label_logits).mean())
    if gradient == "exact":
        logits *= (1 / (batch * totals))[:, None]  # p / batch
        logits[rows, labels] -= 1 / batch  # (p - y) / batch
    elif gradient == "report":
        at_label = (logits[rows, labels] / totals - 1) / batch  # (p_c - 1) / batch
        logits[:] = 0
        logits[rows, labels] = at_label
    return loss, correct
