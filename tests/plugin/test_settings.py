"""Every key of `hydra.sweeper`, and the space: a mistake is one sentence at the door."""

from __future__ import annotations

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, RunMode

from hydra_plugins.hydra_optuna_study._config import SweepConfig, read_sweep_config
from hydra_plugins.hydra_optuna_study._controller import _make_callback
from hydra_plugins.hydra_optuna_study._launch import App
from hydra_plugins.hydra_optuna_study._private import NO_CALLBACKS
from tests.plugin.sweeping import APP, VERSION_BASE


@pytest.fixture(scope="module")
def loader():
    with initialize_config_dir(str(APP.parent / "conf"), **VERSION_BASE):
        yield GlobalHydra.instance().config_loader()


def read(loader, *words: str) -> SweepConfig:
    """What the controller reads of a command line, up to the first composition."""
    config = loader.load_configuration("config", ["+sweep=toy", *words], RunMode.MULTIRUN)
    app = App(config, HydraContext(config_loader=loader, callbacks=NO_CALLBACKS), print)
    settings = {k: v for k, v in config.hydra.sweeper.items() if not k.startswith("_")}
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    task = [o.input_line for o in parsed if not o.is_hydra_override()]
    sweep = read_sweep_config(settings, ["+sweep=toy", *task], app)
    _make_callback(sweep)
    app.probe(sweep.space)
    return sweep


MISTAKES = {  # what is typed: what the sentence must say
    "n_trials=0": "n_trials: n_trials >= 1 must hold, in whole numbers, got n_trials=0",
    "n_trials=1e9": "n_trials: n_trials >= 1 must hold, in whole numbers, got n_trials=1000",
    "n_trials=abc": "n_trials: n_trials >= 1 must hold, in whole numbers, got n_trials=abc",
    "n_trials=true": "n_trials: n_trials >= 1 must hold, in whole numbers, got n_trials=True",
    "n_trials=[3]": "n_trials: n_trials >= 1 must hold, in whole numbers, got n_trials=[3]",
    "n_trials=null": "n_trials: a number must be given unless the sampler is a grid",
    "workers=abc": "workers: auto or workers >= 1 must hold, got workers=abc",
    "workers=null": "workers: auto or workers >= 1 must hold, got workers=None",
    "workers=1.5": "workers: auto or workers >= 1 must hold, got workers=1.5",
    "max_retries=abc": "max_retries: max_retries >= 0 must hold, in whole numbers, got ",
    "max_retries=-1": "max_retries: max_retries >= 0 must hold, in whole numbers, got ",
    "max_retries=null": "max_retries: max_retries >= 0 must hold, in whole numbers, got ",
    "max_failure_rate=abc": "max_failure_rate: 0 <= max_failure_rate <= 1 must hold, got ",
    "max_failure_rate=nan": "max_failure_rate: 0 <= max_failure_rate <= 1 must hold, got ",
    "max_failure_rate=null": "max_failure_rate: 0 <= max_failure_rate <= 1 must hold, got ",
    "max_failure_rate=[1]": "max_failure_rate: 0 <= max_failure_rate <= 1 must hold, got ",
    "seed=-1": "seed: 0 <= seed < 2147483648 must hold, in whole numbers, got seed=-1",
    "seed=abc": "seed: 0 <= seed < 2147483648 must hold, in whole numbers, got seed=abc",
    "seed=5000000000": "seed: 0 <= seed < 2147483648 must hold, in whole numbers, got ",
    "study_name=null": "study_name: a name without / must be given, got study_name=None",
    "study_name=''": "study_name: a name without / must be given, got study_name=''",
    "study_name=../../x": "study_name: a name without / must be given, got study_name='../../x'",
    "study_name=[a]": "study_name: a name without / must be given, got study_name=['a']",
    "storage=5": "storage: a path or an address must be given, got storage=5",
    "storage=[a]": "storage: a path or an address must be given, got storage=['a']",
    "direction=[]": "direction: minimize or maximize must be given, got an empty list",
    "direction=null": "direction: a word, or a list of words, must be given, got None",
    "direction=5": "direction: a word, or a list of words, must be given, got 5",
    "direction={a:1}": "direction: a word, or a list of words, must be given, got {'a': 1}",
    "direction=maximise": "direction: minimize or maximize must be given, got maximise",
    "metric=[]": "metric: a metric for each direction must be given, got 0 metrics and 1",
    "metric=5": "metric: a word, or a list of words, must be given, got 5",
    "metric=[a,5]": "metric: a word, or a list of words, must be given, got ['a', 5]",
    "free=3": "free: a word, or a list of words, must be given, got 3",
    "dead_hosts=null": "dead_hosts: a word, or a list of words, must be given, got None",
    "params=5": "params: a mapping of dotted keys must be given, got 5",
    "params=null": "params: a mapping of dotted keys must be given, got None",
    "conditions=5": "conditions: a mapping of dotted keys must be given, got 5",
    "+conditions={x: 5}": "conditions.x: a condition compares dotted names with values",
    "+conditions={dpth: 'x > 0'}": "conditions.dpth: no such parameter in hydra.sweeper.params; "
    "did you mean depth?",
    "+conditions={x: 'dpth > 1'}": "conditions.x: no key dpth in the configuration; "
    "did you mean depth?",
    "+conditions={x: 'name == relu'}": "conditions.x: no key relu in the configuration; "
    "if it is a word, write 'relu'",
    "+conditions={x: 'name > 3'}": "conditions.x: 'name > 3' cannot be decided: '>' not supported",
    "callback=5": "callback: a node with a _target_ must be given, got 5",
    "callback={_target_: 5}": "callback: a node with a _target_ must be given, got {'_target_': 5}",
    "callback={_target_: nowhere.C}": "callback: Error loading 'nowhere.C'",
    "callback={_target_: builtins.dict}": "callback: a subclass of StudyCallback, or a function",
    "sampler=5": "sampler: a node with a _target_ must be given, got 5",
    "sampler={_target_: optuna.samplers.TPESampler, seed: -1}": "sampler.seed: 0 <= seed < ",
    "sampler={_target_: optuna.pruners.MedianPruner}": "sampler: a subclass of BaseSampler, or a ",
    "sampler={_target_: os.mkdir, path: made}": "sampler: a subclass of BaseSampler, or a ",
    "callback={_target_: os.mkdir, path: made}": "callback: a subclass of StudyCallback, or a ",
    "sampler={_target_: optuna.samplers.TPESampler, gamma: {_target_: os.mkdir, path: made}}": ""
    "sampler: a nested _target_ must come from optuna, got os.mkdir",
    "pruner={_target_: optuna.pruners.PatientPruner, patience: 1, wrapped_pruner: [{_target_: "
    "os.mkdir, path: made}]}": "pruner: a nested _target_ must come from optuna, got os.mkdir",
    "pruner={_target_: optuna.samplers.TPESampler}": "pruner: a subclass of BasePruner, or a ",
    "pruner={_target_: optuna.pruners.MedianPruner, n_startup_trials: -3}": "pruner: ",
    "+n_trails=3": "n_trails: no such key; did you mean n_trials?",
    "+n_jobs=3": "n_jobs: no such key; it is called hydra.sweeper.workers here",
    "+search_space={x: 1}": "search_space: no such key; it is called hydra.sweeper.params here",
    "+anything=3": "anything: no such key",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_wrong_setting_is_one_sentence(loader, capsys, monkeypatch, tmp_path, typed):
    """The key is named, the rule comes before the facts, the exit code is 2, nothing is called."""
    monkeypatch.chdir(tmp_path)
    plus = "+" if typed.startswith("+") else ""
    with pytest.raises(SystemExit) as left:
        read(loader, f"{plus}hydra.sweeper.{typed.removeprefix('+')}")
    captured = capsys.readouterr()
    assert left.value.code == 2
    assert list(tmp_path.iterdir()) == []
    assert captured.err.startswith(f"hydra.sweeper.{MISTAKES[typed]}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


GRID = "hydra.sweeper.sampler={_target_:optuna.samplers.GridSampler}"
BRUTE_FORCE = "hydra.sweeper.sampler={_target_:optuna.samplers.BruteForceSampler}"
SPACES = {  # other mistakes that the door finds
    "x=tag(LOG,interval(1,2))": "x: the one tag is log, got tag(LOG, ...); did you mean tag(log,",
    "x=tag(logarithmic,interval(1,2))": "x: the one tag is log, got tag(logarithmic, ...); did you",
    "x=tag(a,log,interval(1,2))": "x: the one tag is log, got tag(a, ...)",
    "x=tag(log,choice(1,2))": "x: a log scale needs an interval or a range, got a choice",
    "x=interval(0,inf)": "x: bounds must be finite, got low=0.0, high=inf",
    "x=1 depth=2": "hydra.sweeper.params: nothing varies, so n_trials = 1 must hold, got ",
    "x=1 depth=range(2,3)": "hydra.sweeper.params: nothing varies, so n_trials = 1 must hold",
    "+hydra.sweeper.params.shape=null": "shape: one of its options must be given (flat, tall), "
    "got shape=null",
    "+hydra.sweeper.params.shape=2024": "shape: one of its options must be given (flat, tall), "
    "got shape=2024",
    "shape=choice(flat,3)": "shape: no option '3' in this config group; it has ['flat', ",
    "+hydra.sweeper.params.shape=wide": "In 'config': Could not find 'shape/wide'",
    "dpeth=interval(0,1)": "dpeth: no such key in the configuration; did you mean depth?",
    "+hydra.sweeper.params.dpeth=2": "dpeth: no such key in the configuration; did you mean depth?",
    "nokey=interval(0,1)": "nokey: no such key in the configuration",
    "shape=choice(flat,tall) shape.hight=range(3)": "shape.hight: no such key in the "
    "configuration; did you mean shape.height?",
    f"x=range(200001) {GRID}": "hydra.sweeper.params: a grid has at most 100000 points, got 600003",
    BRUTE_FORCE: "x: a grid needs a choice or a range, got float(",
    f"x=1 {GRID[:-1]},search_space:{{x:[0]}}}}": "hydra.sweeper.sampler: a grid's values are "
    "those of hydra.sweeper.params, not search_space",
}


@pytest.mark.parametrize("typed", SPACES)
def test_a_wrong_space_is_one_sentence(loader, capsys, typed):
    """Tags, bounds, groups and keys: what is wrong is named, before a trial meets it."""
    with pytest.raises(SystemExit) as left:
        read(loader, *typed.split())
    captured = capsys.readouterr()
    assert left.value.code == 2
    assert captured.err.startswith(SPACES[typed])
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_probes_follow_conditions_in_any_order(loader):
    """Each option of a group and each conditional key is composed once, where it exists."""
    for options in ("flat,tall", "tall,flat"):
        words = [f"shape=choice({options})", "width_2=range(2,5)", "depth=range(1,4)"]
        sweep = read(loader, *words, "+hydra.sweeper.conditions={width_2: 'depth > 2'}")
        first, second = sweep.space.probes()
        assert {"depth=3", "width_2=2"} <= set(first)
        assert {"shape=flat", "shape=tall"} <= {*first, *second}


def test_a_grid_counts_the_points_that_differ(loader, capsys):
    """Where a condition leaves a parameter out, its values make no further points."""
    grid = ("x=choice(0,1)", "depth=range(1,4)", "width_2=range(2,7)", GRID)
    condition = "+hydra.sweeper.conditions={width_2: 'depth > 2'}"
    sweep = read(loader, *grid, condition, "hydra.sweeper.n_trials=null")
    assert sweep.n_trials == 2 * (1 + 1 + 5)
    assert len(list(sweep.space.points())) == 14
    sweep = read(loader, *grid, condition, "hydra.sweeper.n_trials=1000000000")
    assert sweep.n_trials == 14
    assert capsys.readouterr().out == (
        "n_trials=1000000000 is more than the 14 points of the space: each is tried once\n"
    )


def test_a_small_space_is_told_and_kept(loader, capsys):
    """Another sampler may repeat points; the number of trials is the user's."""
    sweep = read(loader, "x=choice(0,1)", "depth=1")
    assert sweep.n_trials == 6
    said = "n_trials=6 is more than the 2 points of the space: some are tried twice\n"
    assert capsys.readouterr().out == said


def test_one_fixed_point_is_one_trial(loader):
    """A study of one point is fine."""
    sweep = read(loader, "x=1", "depth=2", "hydra.sweeper.n_trials=1")
    assert (sweep.n_trials, sweep.space.parameters) == (1, ())


def test_a_condition_reads_options_and_words(loader):
    """A group that is not sampled is its option; true, false and null are spelt as Hydra does."""
    condition = "+hydra.sweeper.conditions={depth: 'shape == \"tall\" and fail != null'}"
    for shape, names in (("flat", ["x"]), ("tall", ["x", "depth"])):
        sweep = read(loader, f"shape={shape}", condition)
        assert [name for point in sweep.space.points() for name in point][: len(names)] == names
