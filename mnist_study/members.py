"""A configuration that stands for several runs, and their training on shared passes over the data.

`members` lists values of some keys; every combination is a run of its own, tracked as one:

    members:
      optimizer.lr: [0.01, 0.02]
      training.gradient: [report, exact]
"""

from __future__ import annotations

import copy
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_study.config import ConfigError
from mnist_study.lockstep import Member, train_together
from mnist_study.losses import Gradient
from mnist_study.run import Run
from mnist_study.training import Event, Finished, Sampling, evaluate

FREE = ("optimizer", "schedule", "training.gradient")  # what members may differ in


def member_configs(config: DictConfig) -> list[DictConfig]:
    """One composed configuration for each combination of the values in `members`.

    Raises: ConfigError for a key that members cannot differ in, or that does not exist.
    """
    asked = cast("dict[str, list[object]]", OmegaConf.to_container(config.members, resolve=True))
    for key, values in asked.items():
        if not key.startswith(FREE):
            raise ConfigError(f"members.{key}: members share data, network, batches and seed, "
                              f"so a key of {', '.join(FREE)} must be given")  # fmt: skip
        if OmegaConf.select(config, key) is None:
            raise ConfigError(f"members.{key}: there is no {key} in this configuration")
        if not isinstance(values, list) or not values:
            raise ConfigError(f"members.{key} must be a list of values, got {values}")
    configs = []
    for combination in itertools.product(*asked.values()):
        member = copy.deepcopy(config)
        with open_dict(member):
            del member["members"]
        for key, value in zip(asked, combination, strict=True):
            OmegaConf.update(member, key, value)
        if name := member.tracking.run_name:
            member.tracking.run_name = " ".join(map(str, (name, *combination)))
        configs.append(member)
    return configs


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


def together(runs: Sequence[Run]) -> Iterator[tuple[int, Event]]:
    """Train runs that differ in `FREE` keys; yield (run, event), each run's `Finished` last.

    Raises: ConfigError unless they are softmax regressions.
    """
    first = runs[0]
    if len(first.network.weights) != 1:
        raise ConfigError(
            "members: runs share their passes over the data only at model.depth=1, "
            f"got layers {first.layer_sizes}"
        )
    return _events(runs)


def _events(runs: Sequence[Run]) -> Iterator[tuple[int, Event]]:
    first = runs[0]
    settings, dataset = first.settings, first.dataset
    started = time.perf_counter()
    step = 0
    for k, event in train_together(
        [
            Member(r.network, r.optimizer, r.schedule, cast(Gradient, r.settings.gradient))
            for r in runs
        ],
        dataset.train,
        first.watched,
        epochs=settings.epochs,
        batch_size=first.batch_size,
        sampling=cast(Sampling, settings.sampling),
        eval_every=first.eval_every,
        rng=first.rng,
    ):
        step = event.step
        yield k, event
    seconds = time.perf_counter() - started
    images = len(runs) * settings.epochs * len(dataset.train.labels)
    for k, run in enumerate(runs):
        scores = {name: evaluate(run.network, split) for name, split in run.final.items()}
        yield k, Finished(step, scores, seconds / len(runs), images / seconds)


def feed(listen: Callable[[Iterable[Event]], Iterator[Event]]) -> Callable[[Event], Event]:
    """A listener, written for one run's stream, as a function of one event after another."""
    inbox: deque[Event] = deque()
    heard = listen(iter(inbox.popleft, None))

    def push(event: Event) -> Event:
        inbox.append(event)
        return next(heard)

    return push
