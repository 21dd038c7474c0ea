"""The trainer as a stream of events: deterministic, complete, honest about divergence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_study.data import Split
from mnist_study.nn.feed import Feed
from mnist_study.nn.losses import CrossEntropy
from mnist_study.nn.network import Network
from mnist_study.nn.optimizers import Sgd
from mnist_study.nn.schedules import constant
from mnist_study.nn.training import (
    Batches,
    Diverged,
    EpochEnded,
    Measured,
    epoch_steps,
    evaluate,
    train,
)


def blobs(n=60, seed=0):
    """Three classes of 16-pixel images, easy to tell apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.integers(0, 60, (n, 16), dtype=np.uint8)
    images[np.arange(n), labels] = 250
    return Split(images, labels.astype(np.int64))


def network(seed=0, depth=2, dtype=np.float64):
    return Network(
        16, 3, depth=depth, width=8, activation="relu", init="he", init_std=0.1,
        rng=np.random.default_rng(seed), dtype=dtype,
    )  # fmt: skip


def events(net, lr=0.5, optimizer=Sgd, **keys):
    settings = {
        "epochs": 3,
        "batch_size": 16,
        "sampling": "shuffle",
        "eval_every": None,
    } | keys
    training = net.prepare(blobs())
    schedule = constant(total_steps=1, epoch_steps=1)
    optimizer = optimizer(net.parameters, lr=lr)
    watched = {"validation": net.prepare(blobs(seed=1))}
    rng = np.random.default_rng(7)
    loss = CrossEntropy()
    return train(net, optimizer, schedule, loss, training, watched, rng=rng, **settings)


@given(st.integers(1, 50), st.data())
def test_shuffled_batches_partition_the_epoch(n, data):
    """Each image comes exactly once an epoch, in batches of the asked size but for the last one."""
    size = data.draw(st.integers(1, n))
    images = np.arange(n, dtype=np.uint8)[:, None]
    feed = Feed(Split(images, np.arange(n)))
    batches = Batches(feed, size, "shuffle", np.random.default_rng(n))
    for _ in range(2):
        seen = [(b.images[:, 0].tolist(), b.labels.tolist()) for b in batches.epoch()]
        assert all(pixels == labels for pixels, labels in seen)
        assert sorted(label for _, labels in seen for label in labels) == list(range(n))
        assert [len(labels) for _, labels in seen[:-1]] == [size] * (len(seen) - 1)
        assert len(seen) == epoch_steps(n, size, "shuffle")


def test_drawn_batches_are_whole_and_repeat_images():
    """The report's draw with replacement: n // batch whole batches, some images twice."""
    batches = Batches(Feed(blobs(n=50)), 20, "replacement", np.random.default_rng(0))
    epochs = [[len(batch.labels) for batch in batches.epoch()] for _ in range(3)]
    assert epochs == [[20, 20]] * 3
    images = np.arange(50, dtype=np.uint8)[:, None]
    feed = Feed(Split(images, np.arange(50)))
    drawn = next(iter(Batches(feed, 40, "replacement", np.random.default_rng(0)).epoch()))
    assert len(set(drawn.labels.tolist())) < 40


def test_equal_seeds_give_equal_events_and_weights():
    """Two trainings from the same seeds agree in every number, bit for bit."""
    nets = [network(), network()]
    first, second = (list(events(net, eval_every=2)) for net in nets)
    assert first == second
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


def test_another_seed_gives_other_weights():
    """The seed is not decoration."""
    assert network(seed=0).parameters.tolist() != network(seed=1).parameters.tolist()


def test_curves_come_every_so_many_iterations_and_means_every_epoch():
    """60 images in batches of 16 are 4 steps an epoch: every 3rd is a point, each epoch a mean."""
    got = list(events(network(), eval_every=3))
    assert [(e.step, e.epoch) for e in got if isinstance(e, Measured)] == [
        (3, 1),
        (6, 2),
        (9, 3),
        (12, 3),
    ]
    assert [e.step for e in got if isinstance(e, EpochEnded)] == [4, 8, 12]
    points = [e.scores["validation"].loss for e in got if isinstance(e, Measured)]
    ends = [e.scores["validation"].loss for e in got if isinstance(e, EpochEnded)]
    assert ends == pytest.approx([points[0], points[1], np.mean(points[2:])])


def test_the_epochs_mean_counts_every_image_once():
    """Batches of 16, 16, 16 and 12 images: the mean weighs the last one less."""
    got = list(events(network(), epochs=1, eval_every=1))
    losses = [e.scores["train"].loss for e in got if isinstance(e, Measured)]
    mean = np.average(losses, weights=[16, 16, 16, 12])
    assert got[-1].scores["train"].loss == pytest.approx(mean)


def test_training_learns_easy_classes():
    """Three separable blobs are told apart, on images it has not seen."""
    net = network()
    last = list(events(net, epochs=30))[-1]
    assert last.scores["validation"].accuracy == 1.0


def test_full_batch_is_gradient_descent():
    """One step an epoch, equal to the update over every image worked by hand."""
    full = network()
    last = list(events(full, epochs=2, batch_size=60))[-1]
    assert last.step == 2
    by_hand = network()
    split = blobs()
    everything = by_hand.prepare(split).batch(np.arange(60))
    for _ in range(2):
        by_hand.loss_and_gradient(everything, CrossEntropy())
        by_hand.parameters -= 0.5 * by_hand.gradient
    assert full.parameters == pytest.approx(by_hand.parameters, rel=1e-12)


def test_an_optimizer_is_given_the_gradient_and_the_rate_of_the_step():
    """A class of one's own gets what the trainer's own optimizers get."""
    given = []

    class OwnSgd(Sgd):
        def step(self, gradient, lr):
            given.append(lr)
            super().step(gradient, lr)

    nets = [network(), network()]
    list(events(nets[0]))
    list(events(nets[1], optimizer=OwnSgd))
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)
    assert given == [0.5] * 12


def test_divergence_raises_with_step_rate_and_loss():
    """A non-finite loss ends the training at once and says where and why."""
    with (
        np.errstate(all="ignore"),
        pytest.raises(Diverged, match=r"loss is (nan|inf) at step \d+, rate"),
    ):
        list(events(network(), lr=1e200, epochs=50))


def test_evaluation_in_chunks_equals_one_pass():
    """The chunk size is a matter of speed only."""
    net = network()
    feed = net.prepare(blobs(n=53))
    whole = evaluate(net, CrossEntropy(), feed)
    net.chunk = 10
    chunked = evaluate(net, CrossEntropy(), feed)
    assert chunked.loss == pytest.approx(whole.loss, rel=1e-12)
    assert chunked.accuracy == whole.accuracy


def test_a_batch_larger_than_the_training_set_is_refused():
    """The rule, then the facts."""
    with pytest.raises(ValueError, match="batch_size=61, training images=60"):
        list(events(network(), batch_size=61))


def test_golden_losses():
    """Five losses of a small float64 training, written down once: no later change moves them."""
    got = [e.scores["train"].loss for e in events(network(depth=3), epochs=5)]
    assert got == pytest.approx(GOLDEN, rel=1e-9)


GOLDEN = [
    0.8792762244318997,
    0.5482824140590264,
    0.26031323346127194,
    0.10592308218548858,
    0.05950953082384441,
]
