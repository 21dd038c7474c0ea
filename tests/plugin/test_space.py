"""Hydra's grammar as Optuna's distributions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FixedTrial

from hydra_plugins.hydra_optuna_study._space import Space, read_space
from hydra_plugins.hydra_optuna_study._worker import Composer
from tests.plugin.sweeping import APP, VERSION_BASE


@pytest.fixture(scope="module")
def loader():
    with initialize_config_dir(str(APP.parent / "conf"), **VERSION_BASE):
        yield GlobalHydra.instance().config_loader()


def space(loader, params=None, arguments=(), conditions=None) -> Space:
    return read_space(params or {}, arguments, conditions or {}, loader)


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("range(1, 5)", IntDistribution(1, 4)),
        ("range(0, 10, 3)", IntDistribution(0, 9, step=3)),
        ("range(10, 0, -4)", IntDistribution(2, 10, step=4)),
        ("range(3)", IntDistribution(0, 2)),
        ("range(0.0, 0.3, 0.1)", FloatDistribution(0.0, 0.2, step=0.1)),
        ("tag(log, range(1, 129))", IntDistribution(1, 128, log=True)),
        ("shuffle(range(1, 5))", IntDistribution(1, 4)),
        ("interval(1, 10)", FloatDistribution(1.0, 10.0)),
        ("int(interval(1, 10))", IntDistribution(1, 10)),
        ("tag(log, interval(1e-3, 2))", FloatDistribution(1e-3, 2.0, log=True)),
        ("tag(log, int(interval(8, 512)))", IntDistribution(8, 512, log=True)),
        ("int(tag(log, interval(8, 512)))", IntDistribution(8, 512, log=True)),
        ("choice(32, 64)", CategoricalDistribution([32, 64])),
        ("32, 64", CategoricalDistribution([32, 64])),
        ("shuffle(choice(a, b))", CategoricalDistribution(["a", "b"])),
        ("true, null, 1.5", CategoricalDistribution([True, None, 1.5])),
        ("choice([300, 100], [50])", CategoricalDistribution(["[300,100]", "[50]"])),
        ("choice(1, true)", CategoricalDistribution(["1", "True"])),
    ],
)
def test_every_form_of_the_grammar_has_its_distribution(loader, text, distribution):
    """Ranges leave their stop out, intervals keep both ends, integers stay integers."""
    (parameter,) = space(loader, {"x": text}).parameters
    assert parameter.distribution == distribution


@pytest.mark.parametrize(
    ("text", "value", "override"),
    [
        ("interval(0, 1)", 1e-05, "x=1e-05"),
        ("choice('a b', c)", "a b", "x=a\\ b"),
        ("choice([300, 100], [50])", "[50]", "x=[50]"),
        ("null, 3", None, "x=null"),
        ("range(1, 5)", 3, "x=3"),
    ],
)
def test_a_sampled_value_returns_as_the_override_hydra_reads(loader, text, value, override):
    """Numbers keep every digit, words their quotes, lists their brackets."""
    (parameter,) = space(loader, {"x": text}).parameters
    assert parameter.override(value) == override


def test_the_command_line_wins_over_the_config(loader):
    """A value on the command line fixes a parameter, a sweep there replaces its space."""
    made = space(
        loader,
        {"x": "interval(0, 1)", "depth": "range(1, 9)", "name": "relu"},
        ["+sweep=toy", "x=0.5", "depth=range(1,3)"],
    )
    assert [p.distribution for p in made.parameters] == [IntDistribution(1, 2)]
    assert made.fixed == ("x=0.5", "name=relu", "+sweep=toy")


def test_a_group_is_swept_by_its_options(loader):
    """`glob` stands for the options of a config group, and a prefix stays with its key."""
    (parameter,) = space(loader, arguments=["shape=glob(*)"]).parameters
    assert list(parameter.values) == ["flat", "tall"]
    (parameter,) = space(loader, arguments=["+new=choice(1, 2)"]).parameters
    assert (parameter.name, parameter.override(2)) == ("new", "+new=2")


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"x": "interval(3, 1)"}, "x: low <= high must hold, got low=3.0, high=1.0"),
        ({"x": "tag(log, interval(0, 1))"}, "x: low > 0 must hold on a log scale, got low=0.0"),
        ({"x": "range(3, 3)"}, "x: a range needs at least one value, got range(3,3,1)"),
        ({"x": "tag(log, range(1, 9, 2))"}, "x: step = 1 must hold on a log scale, got step=2"),
        ({"x": "choice(1, 1)"}, "x: the values of a choice must differ, got 1, 1"),
        ({"shape": "choice(flat, wide)"}, "shape: no option 'wide' in this config group"),
        ({"x": "interval(1"}, "hydra.sweeper.params: "),
    ],
)
def test_a_bad_space_is_rejected_by_its_key(loader, capsys, params, sentence):
    """One sentence names the key, the rule and the facts; the exit code is 2."""
    with pytest.raises(SystemExit) as left:
        space(loader, params)
    assert left.value.code == 2
    output = capsys.readouterr().err
    assert output.startswith(sentence)
    assert output.count("\n") == 1


def test_a_condition_decides_whether_a_parameter_is_sampled(loader):
    """It reads sampled values, or composed ones, whatever the order of the keys."""
    params = {"width_2": "range(4, 9)", "depth": "range(1, 4)"}
    made = space(loader, params, (), {"width_2": "depth > 2 and name in ('relu', 'tanh')"})
    relu, gelu = (replace(made, constants={"name": name}) for name in ("relu", "gelu"))
    point = {"depth": 3, "width_2": 5}
    assert relu.suggest(FixedTrial(point)) == ["depth=3", "width_2=5"]
    assert gelu.suggest(FixedTrial(point)) == ["depth=3"]
    assert relu.suggest(FixedTrial({"depth": 2})) == ["depth=2"]


@pytest.mark.parametrize("text", ["depth >", "__import__('os')", "depth + 1 > 2", "depth is 2"])
def test_a_condition_is_no_program(loader, capsys, text):
    """All but comparisons of names with values is rejected before anything runs."""
    with pytest.raises(SystemExit):
        space(loader, {"x": "interval(0, 1)"}, (), {"x": text})
    assert capsys.readouterr().err.startswith("hydra.sweeper.conditions.x: a condition compares")


def test_parameters_keep_their_order_but_for_conditions(loader):
    """A seed draws one after another: those whose conditions can be read, as they were declared."""
    params = dict.fromkeys(("depth", "sleep", "x", "lr"), "interval(0, 1)")
    conditions = {"x": "sleep > 0", "lr": "depth > 0"}
    names = [p.name for p in space(loader, params, (), conditions).parameters]
    assert names == ["depth", "sleep", "x", "lr"]


def test_conditions_in_a_circle_are_rejected(loader, capsys):
    """Two parameters that wait for one another can never be sampled."""
    params = {"x": "interval(0, 1)", "depth": "range(1, 4)"}
    with pytest.raises(SystemExit):
        space(loader, params, (), {"x": "depth > 1", "depth": "x > 0"})
    assert "x, depth wait for one another" in capsys.readouterr().err


@pytest.mark.parametrize(
    "sampled", [["x=1e-05", "depth=2"], ["shape=tall", "++steps=9"], ["name='a b'"], []]
)
def test_a_composed_trial_equals_hydras_own_composition(loader, sampled):
    """The shortcut gives what `load_sweep_config` gives, Hydra's notes included."""
    master = loader.load_configuration("config", ["+sweep=toy"], RunMode.MULTIRUN)
    fixed = ["+sweep=toy", "sleep=0.1"]
    composer = Composer(loader, master, fixed)
    for _ in range(2):  # the first fills the cache
        config = composer.compose(sampled)
    expected = loader.load_sweep_config(master, fixed + sampled)
    assert OmegaConf.to_container(config) == OmegaConf.to_container(expected)
