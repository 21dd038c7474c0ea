"""Configurations composed as the command line does, without running anything."""

from __future__ import annotations

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from mnist_study.config import CONF


def composed(*overrides: str) -> DictConfig:
    """The configuration of `python -m mnist_study OVERRIDES`."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))
