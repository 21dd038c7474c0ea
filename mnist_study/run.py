"""The composition root of a run: one composed configuration in, its stream of events out."""

from __future__ import annotations

import copy
import functools
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf

from mnist_study.config import ConfigError, TrainingConfig, build, section
from mnist_study.data import Dataset
from mnist_study.nn.feed import Feed
from mnist_study.nn.losses import Loss
from mnist_study.nn.network import Network
from mnist_study.nn.optimizers import Optimizer
from mnist_study.nn.schedules import Schedule
from mnist_study.nn.training import Event, Finished, Sampling, epoch_steps, evaluate_all, train


@dataclass(frozen=True)
class Run:
    """Everything one training needs, built and checked; nothing has been computed yet."""

    settings: TrainingConfig
    dataset: Dataset
    network: Network
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    batch_size: int  # images; `all` has become the size of the training set
    epoch_steps: int  # iterations an epoch
    rng: np.random.Generator  # draws the batches
    feeds: Mapping[str, Feed]  # train, validation (if there is one) and test, as the network reads

    @property
    def eval_every(self) -> int | None:
        """Iterations between two points of the curves; None: an epoch."""
        return None if self.settings.eval_every == "epoch" else int(self.settings.eval_every)

    @property
    def points(self) -> int:
        """Points of a curve over the whole run."""
        epochs = self.settings.epochs
        return epochs * self.epoch_steps // self.eval_every if self.eval_every else epochs

    def events(self) -> Iterator[Event]:
        """Train, then score every set that may be seen."""
        settings = self.settings
        seen = {n: f for n, f in self.feeds.items() if n != "test" or settings.test != "never"}
        watched = {"validation", "test"} if settings.test == "curve" else {"validation"}
        started = time.perf_counter()
        for event in train(
            self.network,
            self.optimizer,
            self.schedule,
            self.loss,
            self.feeds["train"],
            {name: feed for name, feed in seen.items() if name in watched},
            epochs=settings.epochs,
            batch_size=self.batch_size,
            sampling=cast(Sampling, settings.sampling),
            eval_every=self.eval_every,
            rng=self.rng,
        ):
            yield event
        seconds = time.perf_counter() - started
        scores = evaluate_all(self.network, self.loss, seen)
        images = settings.epochs * len(self.feeds["train"])
        yield Finished(event.step, scores, seconds, images / seconds)


def compose_run(config: DictConfig) -> Run:
    """Build data, network, optimizer and schedule from the composed config.

    Raises: ConfigError with one sentence for whatever a user can get wrong.
    """
    settings = section(config, TrainingConfig)
    _check_threads(settings.threads)
    dataset = _dataset(OmegaConf.to_yaml(_located(config.data)))
    images = len(dataset.train.labels)
    batch_size = images if settings.batch_size == "all" else int(settings.batch_size)
    if batch_size > images:
        raise ConfigError(
            "training.batch_size <= training images must hold, "
            f"got training.batch_size={batch_size}, training images={images}"
        )
    # Two streams of one seed: a deeper network does not change the order of the batches.
    init_rng, batch_rng = np.random.default_rng(settings.seed).spawn(2)
    pixels = dataset.train.images.shape[1]
    network = build(
        config, "model", pixels, dataset.classes, rng=init_rng, dtype=np.dtype(settings.dtype)
    )
    steps = epoch_steps(images, batch_size, cast(Sampling, settings.sampling))
    every = settings.eval_every
    if every != "epoch" and int(every) > settings.epochs * steps:
        rule = "training.eval_every <= iterations of the run must hold"
        raise ConfigError(f"{rule}, got {every} of {settings.epochs * steps}: a curve of no point")
    prepare = getattr(network, "prepare", Feed)  # a model without it gets pictures
    return Run(
        settings=settings,
        dataset=dataset,
        network=network,
        loss=build(config, "loss"),
        feeds={name: prepare(split) for name, split in dataset.splits.items() if len(split.labels)},
        optimizer=build(config, "optimizer", network.parameters),
        schedule=build(config, "schedule", total_steps=settings.epochs * steps, epoch_steps=steps),
        batch_size=batch_size,
        epoch_steps=steps,
        rng=batch_rng,
    )


def _located(data: DictConfig) -> DictConfig:
    """Section `data`, its folders seen from where the command was started, not from a run's own."""
    data = copy.deepcopy(data)
    for key in ("root", "cache"):
        folder = None if OmegaConf.is_missing(data, key) else data.get(key)
        if isinstance(folder, str) and folder and not folder.startswith("~"):
            data[key] = to_absolute_path(folder)
    return data


def _check_threads(threads: int | str) -> None:
    """BLAS takes any number and uses as many as it was built for, without a word."""
    cores = os.cpu_count() or 1
    if threads != "auto" and int(threads) > cores:
        rule = "training.threads <= cores of this machine must hold"
        raise ConfigError(f"{rule}, got training.threads={threads}, cores={cores}")


@functools.lru_cache(maxsize=1)
def _dataset(data: str) -> Dataset:
    """Read the data that section `data`, as YAML, names: once for all trials of a worker."""
    return cast(Dataset, build(OmegaConf.create({"data": OmegaConf.create(data)}), "data"))


def scaled(config: DictConfig) -> DictConfig:
    """The configuration with `report.scale` of its epochs, at least 1; as it is without that key.

    Raises: ConfigError unless 0 < report.scale <= 1.
    """
    scale = OmegaConf.select(config, "report.scale")
    if scale is None:
        return config
    if not (isinstance(scale, int | float) and 0 < scale <= 1):
        raise ConfigError(f"0 < report.scale <= 1 must hold, got report.scale={scale}")
    config = copy.deepcopy(config)
    config.training.epochs = max(1, round(config.training.epochs * scale))
    return config
