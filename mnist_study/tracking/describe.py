"""How MLflow describes a run: its name, parameters, dataset, commit, and how it ended."""

from __future__ import annotations

import functools
import json
import math
import re
import subprocess
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from mnist_study.data import Dataset
from mnist_study.nn.network import Network
from mnist_study.tracking.store import without_passwords

Status = Literal["FINISHED", "KILLED", "FAILED"]  # MLflow's
_STATES = {"FINISHED": "complete", "KILLED": "pruned", "FAILED": "failed"}  # of a trial


def run_name(network: Network, params: Mapping[str, object]) -> str:
    """Layer sizes, optimizer and learning rate: "784-100-10 momentum 0.05"."""
    weights = network.weights
    sizes = "-".join(str(n) for n in [weights[0].shape[0], *(w.shape[1] for w in weights)])
    optimizer = str(params.get("optimizer", "")).lower()
    rate = params.get("optimizer.lr", "")
    words = (sizes, optimizer, f"{rate:.4g}" if isinstance(rate, float) else str(rate))
    return " ".join(word for word in words if word)


def description(name: str, dataset: Dataset, final: Mapping[str, float]) -> str:
    """The run in Markdown, two short lines for the top of its page.

    Args: final: metrics `final/<split>_accuracy` and `final/<split>_loss`, once they are known.
    """
    height, width = dataset.image_shape
    counts = ", ".join(f"{len(part.labels):,} {split}" for split, part in dataset.splits.items())
    images = f"{height} x {width} images of {dataset.classes} classes: {counts}"
    scores = [
        f"{split} **{final[accuracy]:.2%}** (loss {final[loss]:.4f})"
        for split in dataset.splits
        if {accuracy := f"final/{split}_accuracy", loss := f"final/{split}_loss"} <= final.keys()
    ]
    return f"**{name}** on `{dataset.name}`, {images}\n\n" + ", ".join(scores)


def param_texts(params: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Parameters as text without passwords, and the learning rate on a log scale."""
    for key, value in params.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield key, without_passwords(text)
    rate = params.get("optimizer.lr")
    if isinstance(rate, int | float) and rate > 0:  # MLflow's axes are linear
        yield "log10_lr", f"{math.log10(rate):.6g}"


def class_param(dataset: Dataset) -> dict[str, str]:
    """The classes by name, as a parameter of the run; MLflow refuses long ones."""
    return {"data.classes": textwrap.shorten(", ".join(dataset.class_names), 1000)}


def unit_keys(count: int, titles: Sequence[str] | None) -> list[str]:
    """Keys for the images of the first `count` units: "unit_3"; of classes "class_cat".

    Classes have their numbers where a name is not fit for a key: MLflow allows few characters.
    """
    if titles is None:
        return [f"unit_{unit}" for unit in range(count)]
    fit = all(re.fullmatch(r"[\w. -]{1,60}", title, re.ASCII) for title in titles)
    return [f"class_{title if fit else unit}" for unit, title in enumerate(titles[:count])]


def dataset_fields(dataset: Dataset) -> dict[str, str]:
    """The fields of an MLflow dataset. The digest is ours: MLflow's covers only 13 images."""
    shape = [-1, *dataset.image_shape]
    spec = {"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": shape}}
    schema = {"mlflow_tensorspec": {"features": json.dumps([spec]), "targets": None}}
    counts = {f"{name} images": len(part.labels) for name, part in dataset.splits.items()}
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": "code",
        "source": json.dumps({"tags": {"mlflow.source.name": "mnist_study.data"}}),
        "schema": json.dumps(schema),
        "profile": json.dumps(counts),
    }


@functools.cache
def git_tags() -> dict[str, str]:
    """The commit of this code and whether it was changed since; {} outside a checkout."""
    here = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]  # nothing of it comes from outside
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)  # noqa: S603
        return ran.stdout

    try:
        git("ls-files", "--error-unmatch", here.name)  # an environment inside some other repository
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        return {}
    dirty = "true" if changes.strip() else "false"
    return {"mlflow.source.git.commit": commit.strip(), "git.dirty": dirty}


def ending(error: BaseException | None) -> tuple[Status, str | None, str | None]:
    """The arguments of `ending_tags` for a `with` block that ended with `error`."""
    if error is None:
        return "FINISHED", None, None
    if type(error).__name__ == "TrialPruned":  # Optuna's, which a single run does not import
        return "KILLED", str(error), None
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "KILLED", type(error).__name__, "interrupted"
    return "FAILED", f"{type(error).__name__}: {error}", None


def ending_tags(
    status: Status, reason: str | None = None, state: str | None = None
) -> dict[str, str]:
    """The tags of an ended run: `failure` or `reason`, and `state`, by default the status's."""
    tags = {"state": state or _STATES[status]}
    if reason:
        tags["failure" if status == "FAILED" else "reason"] = reason
    return tags
