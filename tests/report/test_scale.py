"""The share of a run's epochs, report.scale."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from mnist_study.config import ConfigError
from mnist_study.run import scaled


def config(**more):
    return OmegaConf.create({
        "optimizer": {"lr": 0.1}, "training": {"gradient": "exact", "epochs": 300},
        "tracking": {"run_name": "one"}, **more,
    })  # fmt: skip


@pytest.mark.parametrize(("scale", "epochs"), [(1.0, 300), (0.05, 15), (0.001, 1)])
def test_scale_shortens_a_run(scale, epochs):
    """A share of the epochs, and at least one."""
    assert scaled(config(report={"scale": scale})).training.epochs == epochs


@pytest.mark.parametrize("scale", [0, -1, 1.5, "half"])
def test_a_scale_that_is_no_share_is_rejected(scale):
    """The rule names the key."""
    with pytest.raises(ConfigError, match=r"0 < report\.scale <= 1 must hold"):
        scaled(config(report={"scale": scale}))
