"""Every experiment composes, and those of the report have its settings."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from mnist_study.config import CONF
from mnist_study.nn.schedules import constant
from mnist_study.report.page import CONTROLS, EXPERIMENTS
from mnist_study.run import compose_run
from tests.composing import composed

NAMES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SOFTMAX, TWO, FOUR = [784, 10], [784, 100, 10], [784, 100, 100, 100, 10]
ALL = 60_000
SOFTMAXES = [name for name in (*EXPERIMENTS, *CONTROLS) if name.startswith("softmax")]

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


@pytest.fixture
def run(request):
    return compose_run(composed(f"experiment={request.param}"))


def test_the_table_is_complete():
    """The report's eleven settings are the page's."""
    assert SETTINGS.keys() == EXPERIMENTS.keys()
    assert set(NAMES) == {*EXPERIMENTS, *CONTROLS, *(f"{name}_exact" for name in SOFTMAXES)}


def test_the_study_runs_every_experiment():
    """Each file of the group is a trial of +sweep=report, with each of five seeds."""
    params = OmegaConf.load(CONF / "sweep" / "report.yaml").hydra.sweeper.params
    choices = params.experiment.removeprefix("choice(").removesuffix(")").split(",")
    assert sorted(choice.strip() for choice in choices) == NAMES
    assert params["training.seed"] == "range(0,5)"


@pytest.mark.parametrize(
    ("run", "expected"), list(SETTINGS.items()), indirect=["run"], ids=SETTINGS
)
def test_an_experiment_has_the_reports_settings(run, expected):
    """Layers, gradient, batch, rate, length and curves are those of the report's table."""
    layers, gradient, batch, lr, iterations, every = expected
    steps = -(-len(run.dataset.train.labels) // run.batch_size)
    assert [len(w) for w in run.network.weights] + [10] == layers
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


@pytest.mark.parametrize("name", SOFTMAXES)
def test_the_exact_gradient_is_the_only_difference(name):
    """NAME_exact trains as NAME does, with the exact gradient instead of the report's."""
    report, exact = composed(f"experiment={name}"), composed(f"experiment={name}_exact")
    assert (report.training.gradient, exact.training.gradient) == ("report", "exact")
    report.training.gradient = "exact"
    del report.tracking, exact.tracking
    assert report == exact


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_is_tagged_with_its_name(name):
    """By this tag the page finds its runs."""
    tracking = composed(f"experiment={name}").tracking
    assert tracking.tags.experiment == tracking.run_name == name


def test_depths_have_equally_many_parameters():
    """The networks that compare depth with width differ by less than half a per cent."""
    sizes = [
        compose_run(composed(f"experiment=network_{depth}_he_slow")).network.parameters.size
        for depth in (2, 3, 4)
    ]
    assert sizes == [99_385, 99_670, 99_710]
