"""What every source gives: images and labels, in the parts that a run learns and is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]  # row numbers


@dataclass(frozen=True, slots=True)
class Split:
    """Images and their labels, row by row; read-only, and shared by processes if cached."""

    images: NDArray[np.uint8]  # (n, pixels), grey values 0..255, C-contiguous, pixels row by row
    labels: NDArray[np.int64]  # (n,), in [0, classes)
    key: str = ""  # equal for equal splits; empty where that is not known
    cache: Path | None = None  # folder that keeps what is made of these images; None: none does


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a run learns from (train), is chosen by (validation) and is judged by (test)."""

    name: str  # "mnist", "idx:<folder>" or "png:<folder>"
    train: Split
    validation: Split  # n = 0 where nothing is held out
    test: Split
    class_names: tuple[str, ...]  # by label
    image_shape: tuple[int, int]  # (height, width); pixels = height * width
    digest: str  # 32 hexadecimal digits of all arrays and the split; equal whatever the source

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.class_names)

    @property
    def splits(self) -> dict[str, Split]:
        """All three by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def hold_out(labels: NDArray[np.int64], validation: int, seed: int) -> tuple[Rows, Rows]:
    """Which rows stay for training and which are held out, both ascending.

    Every class gives its share, `validation * its images / all images`, rounded so that the sum
    is exact: those with the largest remainders give one more (Hamilton's method, ties to the
    lower class).

    Raises: ValueError unless 0 <= validation < images.
    """
    if not 0 <= validation < len(labels):
        facts = f"{validation=}, training images={len(labels)}"
        raise ValueError(f"validation < training images must hold, got {facts}")
    share, remainder = np.divmod(validation * np.bincount(labels), len(labels))
    most_due = np.argsort(-remainder, kind="stable")
    share[most_due[: validation - share.sum()]] += 1
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), np.bool_)
    for label, count in enumerate(share):
        held[rng.permutation(np.flatnonzero(labels == label))[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
