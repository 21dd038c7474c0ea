"""Configurations that stand for several runs."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from mnist_study.config import ConfigError
from mnist_study.members import feed, member_configs, scaled


def config(**more):
    return OmegaConf.create({
        "optimizer": {"lr": 0.1}, "training": {"gradient": "exact", "epochs": 300},
        "tracking": {"run_name": "one"}, **more,
    })  # fmt: skip


def test_members_are_every_combination():
    """Two rates and two gradients are four configurations, each with a name of its own."""
    asked = {"optimizer.lr": [0.1, 0.2], "training.gradient": ["report", "exact"]}
    found = member_configs(config(members=asked))
    assert [(c.optimizer.lr, c.training.gradient) for c in found] == [
        (0.1, "report"), (0.1, "exact"), (0.2, "report"), (0.2, "exact"),
    ]  # fmt: skip
    assert found[0].tracking.run_name == "one 0.1 report"
    assert "members" not in found[0]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"training.seed": [0, 1]}, "members.training.seed"),
        ({"optimizer.rate": [0, 1]}, "there is no optimizer.rate"),
        ({"optimizer.lr": 0.1}, "must be a list"),
    ],
)
def test_members_that_cannot_be_are_refused(asked, sentence):
    """What members share, what does not exist and what is no list is named."""
    with pytest.raises(ConfigError, match=sentence):
        member_configs(config(members=asked))


@pytest.mark.parametrize(("scale", "epochs"), [(1.0, 300), (0.05, 15), (0.001, 1)])
def test_scale_shortens_a_run(scale, epochs):
    """A share of the epochs, and at least one."""
    assert scaled(config(report={"scale": scale})).training.epochs == epochs


@pytest.mark.parametrize("scale", [0, -1, 1.5, "half"])
def test_a_scale_that_is_no_share_is_refused(scale):
    """The rule names the key."""
    with pytest.raises(ConfigError, match=r"0 < report\.scale <= 1 must hold"):
        scaled(config(report={"scale": scale}))


def test_feed_turns_a_listener_into_a_function():
    """What is pushed comes out of the listener, one at a time."""

    def doubled(events):
        for event in events:
            yield 2 * event

    push = feed(doubled)
    assert [push(1), push(2)] == [2, 4]
