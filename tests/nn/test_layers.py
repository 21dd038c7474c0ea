"""A layer, an activation or a loss of one's own: one class outside the package, and a key."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_study.config import ConfigError
from mnist_study.data import Split
from mnist_study.nn import CrossEntropy, Layer, Loss, Network
from mnist_study.nn.feed import Batch
from mnist_study.nn.layers import initial_weights
from mnist_study.nn.training import evaluate
from mnist_study.run import compose_run
from tests.composing import composed

H = 1e-6


class Scale(Layer):
    """y = scale * x, one trained factor a unit; not in place, with state and a random stream."""

    def __init__(self, start: float = 1.5) -> None:
        super().__init__()
        self.start = start
        self.state["calls"] = np.zeros(1)

    def parameter_shapes(self, fan_in):
        return [(fan_in,)]

    def initialise(self, rng):
        self.parameters[0][:] = self.start + 0.1 * self.rng.random(len(self.parameters[0]))

    def forward(self, x, y, *, training):
        if training:
            self.state["calls"] += 1
        np.multiply(x, self.parameters[0], out=y)

    def backward(self, x, y, grad_y, grad_x):
        self.gradients[0][:] = (grad_y * x).sum(axis=0)
        if grad_x is not None:
            np.multiply(grad_y, self.parameters[0], out=grad_x)


class Squared(Loss):
    """Mean over images of half the squared distance from the one-hot label."""

    def __call__(self, logits, labels, factor=None):
        correct = int((logits.argmax(axis=1) == labels).sum())
        logits[np.arange(len(labels)), labels] -= 1
        value = float((logits**2).sum(axis=1).mean() / 2)
        if factor is not None:
            logits *= factor
        return value, correct


class Counted(Network):
    """A user's own model: it gets pictures, row by row."""

    def prepare(self, split):
        from mnist_study.nn.feed import Feed

        return Feed(split)


def network(**keys):
    settings = {"depth": 3, "width": 7, "activation": "tanh", "init": "glorot", "init_std": 0.1}
    rng = np.random.default_rng(0)
    return Network(12, 4, rng=rng, dtype=np.float64, **settings | keys)


def batch(n=9):
    rng = np.random.default_rng(1)
    return Batch(rng.integers(0, 256, (n, 12), dtype=np.uint8), rng.integers(0, 4, n))


WHERE = [
    {"hidden_layers": [Scale()]},
    {"input_layers": [Scale()]},
    {"activation": Scale()},
    {"input_layers": [Scale()], "hidden_layers": [Scale(), Scale()], "depth": 5},
]


@pytest.mark.parametrize("loss", [CrossEntropy(), Squared()], ids=["cross-entropy", "squared"])
@pytest.mark.parametrize("where", WHERE)
def test_a_layer_of_ones_own_has_the_gradient_of_the_loss(where, loss):
    """Behind the input, behind or instead of an activation: the slope along random directions."""
    net, images = network(**where), batch()
    net.loss_and_gradient(images, loss)
    gradient, start = net.gradient.copy(), net.parameters.copy()
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=gradient.size)
        ends = []
        for sign in (1, -1):
            net.parameters[:] = start + sign * H * direction
            ends.append(net.loss(images, loss)[0])
        slope = (ends[0] - ends[1]) / (2 * H)
        assert gradient @ direction == pytest.approx(slope, rel=1e-6)


def test_each_copy_of_a_layer_has_memory_and_a_random_stream_of_its_own():
    """One node in YAML is one layer behind each hidden layer."""
    net = network(hidden_layers=[Scale()])
    one, other = (layer for layer in net.layers if isinstance(layer, Scale))
    assert one.parameters[0].tolist() != other.parameters[0].tolist()
    again = network(hidden_layers=[Scale()])
    np.testing.assert_array_equal(net.parameters, again.parameters)


def test_a_layers_stream_leaves_the_first_weights_alone():
    """A network with a further layer starts from the same weights."""
    for plain, more in zip(
        network().weights, network(hidden_layers=[Scale()]).weights, strict=True
    ):
        np.testing.assert_array_equal(plain, more)


def test_a_layer_knows_whether_the_network_trains():
    """`training` is True in a step alone: not in a score, not for logits."""
    net, images = network(hidden_layers=[Scale()]), batch()
    layer = next(layer for layer in net.layers if isinstance(layer, Scale))
    net.loss(images, CrossEntropy())
    net.logits(images.images)
    evaluate(net, CrossEntropy(), net.prepare(Split(images.images, images.labels)))
    assert layer.state["calls"] == 0
    net.loss_and_gradient(images, CrossEntropy())
    assert layer.state["calls"] == 1


def test_a_line_of_yaml_is_all_it_takes():
    """Layers, an activation, a loss and a model by `_target_`, with their keys."""
    here = "tests.nn.test_layers"
    run = compose_run(
        composed(
            f"model._target_={here}.Counted",
            f"model.activation={{_target_:{here}.Scale,start:2.0}}",
            f"model.input_layers=[{{_target_:{here}.Scale}}]",
            f"loss._target_={here}.Squared",
            "~loss.gradient",
            "data.cache=null",
        )
    )
    assert [type(layer).__name__ for layer in run.network.layers] == [
        *("Scale", "Dense", "Scale", "Dense"),
    ]
    assert run.network.layers[2].start == 2.0
    assert type(run.loss) is Squared
    picture = run.feeds["train"].images[0].reshape(28, 28)
    np.testing.assert_array_equal(picture, run.dataset.train.images[0].reshape(28, 28))


def test_a_wrong_key_of_a_layer_is_one_sentence():
    """The group and the mistake are named."""
    layer = "{_target_:tests.nn.test_layers.Scale,speed:1}"
    with pytest.raises(ConfigError, match=r"^model: .*unexpected keyword argument 'speed'"):
        compose_run(composed(f"model.hidden_layers=[{layer}]"))


def test_glorots_bound_is_that_of_its_equation():
    """U(-a, a) with a² = 6 / (fan_in + fan_out): 60 and 40 give 0.2449, nearly reached."""
    weights = initial_weights(60, 40, "glorot", 0, np.random.default_rng(0))
    assert 0.244 < np.abs(weights).max() <= np.sqrt(6 / 100)
    assert weights.std() == pytest.approx(np.sqrt(6 / 100 / 3), rel=0.03)


def test_hes_weights_have_the_variance_of_its_equation():
    """N(0, 2 / fan_in): a fan_in of 50 gives a standard deviation of 0.2."""
    weights = initial_weights(50, 400, "he", 0, np.random.default_rng(0))
    assert weights.std() == pytest.approx(0.2, rel=0.02)


def test_weights_and_batches_are_drawn_from_two_streams():
    """A deeper network sees the same batches in the same order."""
    rows = []
    for depth in (1, 2, 4):
        run = compose_run(composed(f"model.depth={depth}", "training.seed=3"))
        rows.append(run.rng.integers(0, 50_000, 20).tolist())
    assert rows[0] == rows[1] == rows[2]
    init_stream = np.random.default_rng(np.random.SeedSequence(3).spawn(2)[0])
    assert init_stream.integers(0, 50_000, 20).tolist() != rows[0]
