"""What is known of a run before its first step, and the words in which the store is told."""

from __future__ import annotations

import functools
import json
import math
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_study.config import TrackingConfig
from mnist_study.data import Dataset, Split
from mnist_study.nn.network import Network
from mnist_study.tracking.figures import WEIGHT_LIMIT

STORE_POINTS = 1000  # of a curve that the store gets; its charts show about 300
CURVES = "curves.npz"  # every point of a run whose curves are thinned: metric -> steps and values
THINNED = "curves"  # tag of a run whose curves the store has thinned: how, and where all points are


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run before its first step."""

    folder: Path  # the run's own; `tracking` in it will hold the records
    config_yaml: str  # the composed configuration
    params: Mapping[str, object]  # the same, flat, under dotted names
    tags: Mapping[str, str]
    dataset: Dataset
    network: Network
    curves_per_epoch: bool  # training.eval_every is `epoch`: an epoch's scores are the curves
    parent_run_id: str | None = None
    points: int = 0  # of a curve, over the whole run

    @property
    def stride(self) -> int:
        """Of so many points of a curve the store gets one: MLflow keeps a row for every number."""
        return max(1, -(-self.points // STORE_POINTS))


def run_name(record: RunRecord) -> str:
    """A name that tells the network, the optimizer and its rate: "784-100-10 momentum 0.05"."""
    weights = record.network.weights
    sizes = "-".join(str(n) for n in [weights[0].shape[0], *(w.shape[1] for w in weights)])
    optimizer = str(record.params.get("optimizer", "")).lower()
    rate = record.params.get("optimizer.lr", "")
    words = (sizes, optimizer, f"{rate:.4g}" if isinstance(rate, float) else str(rate))
    return " ".join(word for word in words if word)


def without_passwords(text: str) -> str:
    """Blank the password of every address in `text`."""
    return re.sub(r"(://[^:/@\s]*):[^/@\s]+@", r"\1:***@", text)


@functools.cache
def git_tags() -> dict[str, str]:
    """The commit that this code is from and whether it was changed since; {} outside a checkout."""
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


def header(record: RunRecord, settings: TrackingConfig, uri: str, token: str) -> dict[str, Any]:
    """The first record of a run: everything that its MLflow run is created with."""
    thinned = f"one of {record.stride} points, all of them in {CURVES}"
    tags = (
        git_tags()
        | ({THINNED: thinned} if record.stride > 1 else {})
        | {
            "state": "running",
            "weights.scale": f"red +, blue -, white 0; depth sqrt(|w|), full at {WEIGHT_LIMIT:g}",
            "mlflow.note.content": description(record, {}),
            "mlflow.source.name": "mnist_study",
            "mlflow.loggedImages": "True",  # else the UI does not look for them
        }
    )
    return {
        "uri": uri,
        "experiment": settings.experiment,
        "name": settings.run_name or run_name(record),
        "token": token,
        "time": now(),
        "params": dict(_params(record.params)),
        "tags": tags | dict(record.tags) | dict(settings.tags),
        "parent": record.parent_run_id,
        "dataset": _dataset(record.dataset),
    }


def _dataset(dataset: Dataset) -> dict[str, str]:
    """The fields of MLflow's own dataset, with our digest: its own sees the first 13 images."""
    shape = [-1, *dataset.image_shape]
    spec = {"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": shape}}
    schema = {"mlflow_tensorspec": {"features": json.dumps([spec]), "targets": None}}
    counts = {f"{name} images": len(part.labels) for name, part in _splits(dataset).items()}
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": "code",
        "source": json.dumps({"tags": {"mlflow.source.name": "mnist_study.data"}}),
        "schema": json.dumps(schema),
        "profile": json.dumps(counts),
    }


def _params(params: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in params.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield key, without_passwords(text)
    rate = params.get("optimizer.lr")
    if isinstance(rate, int | float) and rate > 0:  # MLflow's axes are linear
        yield "log10_lr", f"{math.log10(rate):.6g}"


def description(record: RunRecord, final: Mapping[str, float]) -> str:
    """The run in Markdown, two short lines for the top of its page."""
    dataset = record.dataset
    height, width = dataset.image_shape
    counts = ", ".join(f"{len(part.labels):,} {name}" for name, part in _splits(dataset).items())
    images = f"{height} x {width} images of {dataset.classes} classes: {counts}"
    scores = [
        f"{split} **{final[accuracy]:.2%}** (loss {final[loss]:.4f})"
        for split in _splits(dataset)
        if {accuracy := f"final/{split}_accuracy", loss := f"final/{split}_loss"} <= final.keys()
    ]
    return f"**{run_name(record)}** on `{dataset.name}`, {images}\n\n" + ", ".join(scores)


def now() -> int:
    """Milliseconds since 1970, MLflow's unit of time."""
    return round(time.time() * 1000)


def _splits(dataset: Dataset) -> dict[str, Split]:
    return {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
