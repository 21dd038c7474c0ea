"""Every experiment composes, and those of the report have its settings."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from mnist_study.config import CONF
from mnist_study.nn.schedules import constant
from mnist_study.report.contents import CONTROLS, EXPERIMENTS
from mnist_study.run import compose_run

NAMES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SOFTMAX, TWO, FOUR = [784, 10], [784, 100, 10], [784, 100, 100, 100, 10]
ALL = 60_000

# The report's table of settings: layers, gradient, batch, rate, iterations, iterations a point.
SETTINGS = {
    "softmax_full_001": (SOFTMAX, "report", ALL, 0.01, 3000, 1),
    "softmax_full_002": (SOFTMAX, "report", ALL, 0.02, 3000, 1),
    "softmax_full_003": (SOFTMAX, "report", ALL, 0.03, 3000, 1),
    "softmax_full_050": (SOFTMAX, "report", ALL, 0.5, 3000, 1),
    "softmax_150": (SOFTMAX, "report", 150, 0.01, 300 * 400, 5),
    "softmax_1500": (SOFTMAX, "report", 1500, 0.01, 300 * 40, 5),
    "softmax_n": (SOFTMAX, "report", ALL, 0.01, 300, 5),
    "network_2_constant": (TWO, "exact", 1500, 0.8, 2000, 5),
    "network_2_falling": (TWO, "exact", 1500, 0.8, 2000, 5),
    "network_4_constant": (FOUR, "exact", 1500, 0.8, 2000, 5),
    "network_4_falling": (FOUR, "exact", 1500, 0.8, 2000, 5),
}


def composed(*overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.fixture
def run(request):
    return compose_run(composed(f"experiment={request.param}"))


def test_the_table_is_complete():
    """The report's eleven settings are the page's."""
    assert SETTINGS.keys() == EXPERIMENTS.keys()
    together = {"softmax_full_together", "softmax_150_together", "softmax_1500_together",
                "softmax_n_together", "softmax_150_short_together"}  # fmt: skip
    assert set(NAMES) == {*EXPERIMENTS, *CONTROLS, *together}


@pytest.mark.parametrize(
    ("run", "expected"), list(SETTINGS.items()), indirect=["run"], ids=SETTINGS
)
def test_an_experiment_has_the_reports_settings(run, expected):
    """Layers, gradient, batch, rate, length and curves are those of the report's table."""
    layers, gradient, batch, lr, iterations, every = expected
    steps = -(-len(run.dataset.train.labels) // run.batch_size)
    assert run.layer_sizes == layers
    assert run.settings.gradient == gradient
    assert (run.batch_size, run.optimizer.lr) == (batch, lr)
    assert run.settings.epochs * steps == iterations
    assert (run.eval_every or steps) == every
    assert run.settings.test == "curve"
    assert type(run.optimizer).__name__ == "Sgd"
    assert run.network.weights[0].std() == pytest.approx(0.01, rel=0.05)
    assert not run.network.biases[0].any()
    assert run.settings.sampling == ("shuffle" if every == 1 else "replacement")


@pytest.mark.parametrize(
    ("run", "tau"),
    [
        ("softmax_150", 395),
        ("softmax_1500", 35),
        ("network_2_falling", 35),
        ("network_4_falling", 35),
    ],
    indirect=["run"],
)
def test_a_falling_rate_is_a_sawtooth(run, tau):
    """It falls to 1 % at tau, stays there, and jumps back with the next epoch."""
    factors = [run.schedule(step) for step in (0, tau, tau + 4, tau + 5)]
    assert factors == pytest.approx([1, 0.01, 0.01, 1])


@pytest.mark.parametrize(
    "run", ["softmax_full_002", "softmax_n", "network_2_constant", "network_4_constant"],
    indirect=True,
)  # fmt: skip
def test_the_other_rates_stay(run):
    """Constant by name, or because an epoch is one iteration."""
    assert {run.schedule(step) for step in range(100)} == {
        constant(total_steps=1, epoch_steps=1)(0)
    }


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("softmax")])
def test_one_override_gives_the_exact_gradient(name):
    """Nothing else changes."""
    report, exact = (
        composed(f"experiment={name}"),
        composed(f"experiment={name}", "training.gradient=exact"),
    )
    assert (report.training.gradient, exact.training.gradient) == ("report", "exact")
    report.training.gradient = "exact"
    assert report == exact


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_is_tagged_with_its_name(name):
    """By this tag the page finds its runs."""
    tag = composed(f"experiment={name}").tracking.tags.experiment
    assert tag == name.removesuffix("_together")


def test_depths_have_equally_many_parameters():
    """The networks that compare depth with width differ by less than half a per cent."""
    sizes = [
        compose_run(composed(f"experiment=network_{depth}_he_slow")).network.parameters.size
        for depth in (2, 3, 4)
    ]
    assert sizes == [99_385, 99_670, 99_710]
