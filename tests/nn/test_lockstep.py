"""Runs trained at once are the runs trained one by one."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_study import lockstep
from mnist_study.data import Split
from mnist_study.lockstep import Member, train_together
from mnist_study.network import Network
from mnist_study.optimizers import Adam, Momentum, Sgd
from mnist_study.schedules import constant, linear
from mnist_study.training import Diverged, train

LENGTHS = {"total_steps": 12, "epoch_steps": 4}
RUNS = [  # optimizer, schedule, gradient
    (lambda p: Sgd(p, lr=0.5), constant(**LENGTHS), "exact"),
    (lambda p: Sgd(p, lr=0.02), constant(**LENGTHS), "report"),
    (
        lambda p: Momentum(p, lr=0.1, momentum=0.9),
        linear(**LENGTHS, end_factor=0.1, tau=None, restart="epoch"),
        "exact",
    ),
    (
        lambda p: Adam(p, lr=0.01, beta1=0.9, beta2=0.999, eps=1e-8),
        constant(**LENGTHS),
        "exact",
    ),
]


def images(n, seed):
    """Random ones, each black from a column of its own on."""
    rng = np.random.default_rng(seed)
    extents, labels = rng.integers(1, 21, n), rng.integers(0, 3, n)
    grey = rng.integers(1, 256, (n, 20), dtype=np.uint8) * (np.arange(20) < extents[:, None])
    return Split(grey.astype(np.uint8), labels, extents)


def settings(**keys):
    base = {"epochs": 3, "batch_size": 16, "sampling": "shuffle", "eval_every": None}
    return base | keys | {"rng": np.random.default_rng(7)}


def members():
    made = []
    for seed, (make, schedule, gradient) in enumerate(RUNS):
        network = Network(
            20, 3, depth=1, width=1, activation="relu", init="normal", init_std=0.1,
            rng=np.random.default_rng(seed), dtype=np.float64,
        )  # fmt: skip
        made.append(Member(network, make(network.parameters), schedule, gradient))
    return made


def flat(events):
    """Every number of a stream of events, in order."""
    numbers = []
    for event in events:
        scores = [(s.loss, s.accuracy) for _, s in sorted(event.scores.items())]
        numbers.append([event.step, event.epoch, event.lr, *np.ravel(scores)])
    return numbers


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"eval_every": 3},
        {"batch_size": 60},
        {"batch_size": 60, "eval_every": 1},
        {"sampling": "replacement", "eval_every": 2},
    ],
    ids=str,
)
def test_each_member_is_the_run_that_it_would_have_been(monkeypatch, keys):
    """Same events in the same order and same weights, to rounding, whatever the chunks."""
    monkeypatch.setattr(lockstep, "CHUNK", 7)
    training, watched = images(60, 0), {"validation": images(15, 1), "test": images(11, 2)}
    together, alone = members(), members()
    stream = list(train_together(together, training, watched, **settings(**keys)))
    for k, member in enumerate(alone):
        events = train(
            member.network, member.optimizer, member.schedule, training, watched,
            gradient=member.gradient, **settings(**keys),
        )  # fmt: skip
        expected = flat(events)
        got = flat(event for who, event in stream if who == k)
        assert len(got) == len(expected)
        for ours, theirs in zip(got, expected, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-9)
        ours, theirs = together[k].network.parameters, member.network.parameters
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_divergence_names_the_member():
    """One broken run ends them all, and says which it was."""
    broken = members()
    broken[2].network.parameters[0] = np.nan
    with np.errstate(all="ignore"), pytest.raises(Diverged, match="loss of member 2 is nan"):
        list(train_together(broken, images(60, 0), {}, **settings()))
