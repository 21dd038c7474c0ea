"""What a sweep promises: budget, folders, resume, rejections; on joblib and in process."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.plugin.sweeping import APP, account, command, environment, kept, load, start, sweep

JOBLIB = ("hydra/launcher=joblib", "hydra.sweeper.workers=2")


def test_a_study_gives_every_trial_its_number_and_folder(tmp_path):
    """Trial number, job number and folder are one; the config is composed with the sweep itself."""
    done = sweep(tmp_path, "sleep=0.001")
    study = load(tmp_path)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 6
    for trial in study.trials:
        assert len(account(tmp_path, trial.number)) == 2
        hydra = tmp_path / "multirun" / "toy" / str(trial.number) / ".hydra"
        text = (hydra / "overrides.yaml").read_text()
        assert text.startswith("- +sweep=toy\n- sleep=0.001\n- x=")
        assert f"num: {trial.number}\n" in (hydra / "hydra.yaml").read_text()
        assert trial.user_attrs["overrides"][1] == f"depth={trial.params['depth']}"
        assert trial.user_attrs["threads"] >= 1
    assert "toy: 6/6 trials" in done.stdout
    assert done.stdout.count("\n") < 20


def test_a_complete_study_run_again_changes_nothing(tmp_path):
    """A second command says so, and leaves every byte as it was."""
    sweep(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    done = sweep(tmp_path)
    assert "study toy is complete: 6 trials" in done.stdout
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_budget_is_the_studys_total(tmp_path):
    """A larger budget adds what is missing, with new numbers and untouched old folders."""
    sweep(tmp_path)
    first = account(tmp_path, 0)
    sweep(tmp_path, "hydra.sweeper.n_trials=9", *JOBLIB)
    assert len(load(tmp_path).trials) == 9
    assert account(tmp_path, 0) == first
    points = {tuple(t.params.values()) for t in load(tmp_path).trials}
    assert len(points) == 9, "a resumed worker proposed what its forerunner had"


def test_one_worker_is_reproducible_bit_for_bit(tmp_path):
    """Equal seeds give equal trials in two folders, another seed gives others."""
    points = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        (tmp_path / name).mkdir()
        sweep(tmp_path / name, "hydra.sweeper.n_trials=12", f"hydra.sweeper.seed={seed}")
        points.append([(t.params, t.values) for t in load(tmp_path / name).trials])
    assert points[0] == points[1] != points[2]


def test_two_workers_never_wait_for_one_another(tmp_path):
    """While one trial takes long, the other worker finishes several, and the total is exact."""
    grid = "hydra.sweeper.sampler={_target_: optuna.samplers.GridSampler}"
    space = ("hydra.sweeper.n_trials=8", "x=choice(-2,-1,0,1,2,1.5,1.6,1.7)", "depth=1")
    sweep(tmp_path, *JOBLIB, grid, *space, "sleep=0.1", "slow_below=-1.5")
    trials = load(tmp_path).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 8
    longest = max(trials, key=lambda t: t.duration)
    beside = [
        t
        for t in trials
        if longest.datetime_start < t.datetime_start
        and t.datetime_complete < longest.datetime_complete
    ]
    assert longest.params["x"] == -2
    assert len(beside) >= 2
    workers = {t.user_attrs["worker"]["pid"] for t in trials}
    assert len(workers) == 2
    assert {t.user_attrs["threads"] for t in trials} == {1}


def test_two_controllers_share_a_folder(tmp_path):
    """The same command started twice at once joins: the total is exact, no live trial is failed."""
    both = [start(tmp_path, "hydra.sweeper.n_trials=10", "sleep=0.1") for _ in range(2)]
    codes = [controller.wait(timeout=60) for controller in both]
    assert codes == [0, 0], (tmp_path / "output.txt").read_text()
    trials = load(tmp_path).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 10
    assert len({t.user_attrs["worker"]["pid"] for t in trials}) == 2
    assert all(len(account(tmp_path, t.number)) == 2 for t in trials)


def test_workers_sample_with_different_seeds(tmp_path):
    """Two workers never propose the same start."""
    sweep(tmp_path, *JOBLIB, "sleep=0.05")
    assert len({t.params["x"] for t in load(tmp_path).trials}) == 6


def test_pruned_trials_end_early_and_count(tmp_path):
    """A pruned trial is finished; Hydra sees a completed job, the journal a pruned trial."""
    pruner = "hydra.sweeper.pruner={_target_: optuna.pruners.MedianPruner, n_startup_trials: 2}"
    sweep(tmp_path, pruner, "hydra.sweeper.n_trials=12")
    trials = load(tmp_path).trials
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert len(trials) == 12
    assert pruned
    for trial in pruned:
        assert len(trial.intermediate_values) < 3
        assert account(tmp_path, trial.number)[-1] == "pruned"


def test_failures_have_reasons_and_the_study_goes_on(tmp_path):
    """An exception, a NaN and an exit are failed trials with a reason each; the rest completes."""
    reasons = {
        "raise": "ValueError: as asked",
        "undefined": "value is nan",
        "exit": "the task left the program with 2",
    }
    for fail, reason in reasons.items():
        name = f"hydra.sweeper.study_name={fail}"
        sweep(tmp_path, name, f"fail={fail}", "depth=choice(1,2)", "hydra.sweeper.n_trials=5")
        trials = load(tmp_path, fail).trials
        assert len(trials) == 5
        for trial in trials:
            failed = trial.params["depth"] == 1
            assert trial.state == (TrialState.FAIL if failed else TrialState.COMPLETE)
            assert trial.user_attrs.get("failure") == (reason if failed else None)
        folder = tmp_path / "multirun" / fail
        assert len(list(folder.glob("*/failure.txt"))) == sum(
            t.params["depth"] == 1 for t in trials
        )


def test_too_many_failures_stop_the_study(tmp_path):
    """Past the rate no further trial is begun; the last line says which trial and why."""
    rate = ("hydra.sweeper.max_failure_rate=0.3", "hydra.sweeper.n_trials=40")
    done = sweep(tmp_path, "fail=raise", "depth=choice(2,1)", *rate, code=1)
    assert len(load(tmp_path).trials) < 40
    assert re.search(
        r"study toy stopped: (\d+) of \d+ finished trials failed, more than "
        r"hydra.sweeper.max_failure_rate=0.3; trial \d+: ValueError: as asked\n$",
        done.stderr,
    )


def test_a_wrong_metric_costs_one_trial(tmp_path):
    """It shows at a trial's end; no other is begun, and the code is 1."""
    done = sweep(tmp_path, "fail=missing", "depth=1", code=1)
    assert len(load(tmp_path).trials) == 1
    assert (
        "every trial would fail as trial 0 did: hydra.sweeper.metric: no value in o" in done.stderr
    )


def test_three_points_that_fail_alike_stop_the_study(tmp_path):
    """Numbers in the message apart, and only while nothing has succeeded."""
    done = sweep(tmp_path, "fail=raise", "depth=1", "hydra.sweeper.n_trials=9", code=1)
    assert len(load(tmp_path).trials) == 3
    assert "the first 3 points failed alike: ValueError: as asked" in done.stderr


def test_a_study_of_failures_is_never_complete(tmp_path):
    """Exit code 1; the same command runs them again, once what was wrong is mended."""
    broken = ("fail=file", "depth=1", "hydra.sweeper.n_trials=2")
    done = sweep(tmp_path, *broken, code=1)
    assert (
        "no trial was completed, 0 pruned, 2 failed; mended, continue with: python " in done.stderr
    )
    (tmp_path / "needed.txt").touch()
    again = sweep(tmp_path, *broken)
    assert "2 failed trials are tried again" in again.stdout
    assert [t.state for t in kept(load(tmp_path).trials)] == [TrialState.COMPLETE] * 2
    assert "is complete" in sweep(tmp_path, *broken).stdout


def test_failed_trials_run_again_when_asked(tmp_path):
    """`retry_failed=true` acts once, is no other search, and keeps what has succeeded."""
    broken = ("fail=file", "depth=choice(2,1)", "hydra.sweeper.n_trials=6")
    sweep(tmp_path, *broken)
    failed = {t.number for t in load(tmp_path).trials if t.state == TrialState.FAIL}
    assert 0 < len(failed) < 6
    assert "is complete" in sweep(tmp_path, *broken).stdout
    (tmp_path / "needed.txt").touch()
    sweep(tmp_path, *broken, "hydra.sweeper.retry_failed=true")
    trials = load(tmp_path).trials
    assert {t.user_attrs["retry_of"] for t in trials if "retry_of" in t.user_attrs} == failed
    assert [t.state for t in kept(trials)] == [TrialState.COMPLETE] * 6


def test_a_reason_is_one_short_line(tmp_path):
    """What a task says at length is cut on the terminal and in the study, whole in failure.txt."""
    done = sweep(tmp_path, "fail=long", "depth=1", "hydra.sweeper.n_trials=1", code=1)
    assert max(map(len, done.stderr.splitlines())) < 400
    (trial,) = load(tmp_path).trials
    assert len(trial.user_attrs["failure"]) == 500
    assert "word " * 1000 in (tmp_path / "multirun/toy/0/failure.txt").read_text()


def test_each_trial_has_a_folder_of_its_own(tmp_path):
    """Also where the pattern of `hydra.sweep.subdir` has no number in it."""
    same = ("hydra.sweep.subdir=here", "hydra.sweeper.n_trials=4", *JOBLIB)
    sweep(tmp_path, *same)
    folders = list((tmp_path / "multirun/toy").glob("here*/account.txt"))
    assert len(folders) == 4
    assert all(len(f.read_text().splitlines()) == 2 for f in folders)


def test_a_sampler_that_raises_is_reported(tmp_path):
    """After three launches the search stops, with the exception and code 1."""
    sampler = "+hydra.sweeper.sampler={_target_:tests.plugin.app.samplers.RaisesAfterTrial}"
    done = sweep(tmp_path, sampler.removeprefix("+"), "hydra.sweeper.n_trials=9", code=1)
    assert "3 launches in a row ended by RuntimeError: after a trial" in done.stderr


@pytest.mark.parametrize(
    ("overrides", "difference"),
    [
        (["sleep=0.001"], "sleep was 0.0, is 0.001"),
        (["shape=tall"], "shape.height was 1, is 9"),
        (["x=interval(0,1)"], "x was float(low=-2.0, high=2.0), is float(low=0.0, high=1.0)"),
        (["hydra.sweeper.direction=maximize"], "direction was minimize, is maximize"),
        (["hydra.sweeper.metric=cost"], "metric was value, is cost"),
    ],
)
def test_another_search_under_the_same_name_is_rejected(tmp_path_factory, overrides, difference):
    """What differs is named, and nothing is run or written."""
    folder = tmp_path_factory.getbasetemp() / "one-study"
    if not folder.exists():
        folder.mkdir()
        sweep(folder)
    before = (folder / "multirun/toy/study.journal").read_bytes()
    done = sweep(folder, *overrides, code=2)
    way_out = "give this one another hydra.sweeper.study_name, or remove "
    assert f"is another search: {difference}; {way_out}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (folder / "multirun/toy/study.journal").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("x=interval(3,1)", "x: low <= high must hold"),
        ("hydra.sweeper.direction=up", "hydra.sweeper.direction: minimize or maximize"),
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials: n_trials >= 1 must hold"),
        ("hydra.sweeper.workers=0", "hydra.sweeper.workers: auto or workers >= 1 must hold"),
        ("hydra.sweeper.max_failure_rate=2", "hydra.sweeper.max_failure_rate: 0 <= "),
        ("hydra.sweeper.metric=[a,b]", "hydra.sweeper.metric: a metric for each direction"),
        ("hydra.sweeper.sampler=tpe", "hydra.sweeper.sampler: a node with a _target_"),
        (
            "hydra.sweeper.sampler={_target_: optuna.samplers.TPESampler, sed: 1}",
            "hydra.sweeper.sampler: TPESampler.__init__() got an unexpected keyword",
        ),
        (
            "hydra.sweeper.sampler={_target_: optuna.samplers.GridSampler}",
            "x: a grid needs a choice or a range, got float(",
        ),
        ("hydra.sweeper.storage=redis://here", "hydra.sweeper.storage: a path of a journal file"),
        (
            "hydra.sweeper.callback={_target_: callback.Missing}",
            "hydra.sweeper.callback: Error loading 'callback.Missing'",
        ),
        (
            "hydra.sweeper.sampler={_target_: optuna.samplers.Missing}",
            "hydra.sweeper.sampler: Error loading 'optuna.samplers.Missing'",
        ),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_written(tmp_path, override, sentence):
    """It names the key, leaves with 2, and there is no folder afterwards."""
    done = sweep(tmp_path, override, code=2)
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_study_of_another_program_is_not_adopted(tmp_path, direction):
    """A study of that name without our identity, with trials or another direction, is kept."""
    journal = tmp_path / "s.journal"
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(study_name="toy", storage=storage, direction=direction)
    if direction == "minimize":
        study.add_trial(optuna.create_trial(value=1.0))
    before = journal.read_bytes()
    done = sweep(tmp_path, f"hydra.sweeper.storage={journal}", code=2)
    assert done.stderr.startswith(
        f"hydra.sweeper.study_name: toy in {journal} was not made by this"
    )
    assert done.stderr.count("\n") == 1
    assert journal.read_bytes() == before


def test_sqlite_is_for_one_worker(tmp_path):
    """With one worker it serves as well as the journal, with two it is rejected."""
    url = f"hydra.sweeper.storage=sqlite:///{tmp_path}/study.db"
    done = sweep(tmp_path, url, *JOBLIB, code=2)
    assert "SQLite can hand a queued trial to two workers, so workers = 1 must hold" in done.stderr
    assert list(tmp_path.iterdir()) == []
    sweep(tmp_path, url)
    assert "is complete: 6 trials in sqlite:///" in sweep(tmp_path, url).stdout


def test_an_unknown_key_is_rejected_once(tmp_path):
    """It is one sentence, before any trial is made."""
    done = sweep(tmp_path, "dpeth=interval(0,1)", code=2)
    assert done.stderr == "dpeth: no such key in the configuration; did you mean depth?\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_process(tmp_path, number):
    """Without worker processes it is the same: one trial stopped at its step, failed and queued."""
    controller = start(tmp_path, "sleep=0.3")
    wait_for_trials(tmp_path, 1)
    os.kill(controller.pid, number)
    code = controller.wait(timeout=30)
    output = (tmp_path / "output.txt").read_text()
    assert code == 130, output
    assert "stopping at the next step of the running trials (0); Ctrl-C" in output
    assert [t.state for t in load(tmp_path).trials] == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["controller", "terminal"])
def test_ctrl_c_ends_trials_at_their_step_and_names_the_way_on(tmp_path, send):
    """Nothing is left running; the command that is printed finishes the study with equal points."""
    # a trial outlasts the second after which its worker looks at the study again
    study_of = ("hydra.sweeper.n_trials=6", "sleep=0.6", *JOBLIB)
    controller = start(tmp_path, *study_of)
    wait_for_trials(tmp_path, 2)
    send(controller.pid, signal.SIGINT)  # sent to the controller alone, the study tells workers
    code = controller.wait(timeout=30)
    output = (tmp_path / "output.txt").read_text()
    assert code == 130, output
    assert "interrupted at 0 of 6 trials; continue with: python " in output
    trials = load(tmp_path).trials
    stopped = [t for t in trials if t.state == TrialState.FAIL]
    assert TrialState.RUNNING not in {t.state for t in trials}
    assert len(stopped) == 2
    assert {t.user_attrs["failure"] for t in stopped} == {"interrupted; it is tried again"}
    sweep(tmp_path, *study_of)
    finished = kept(load(tmp_path).trials)
    assert [t.state for t in finished] == [TrialState.COMPLETE] * 6
    again = {t.user_attrs["retry_of"]: t for t in finished if "retry_of" in t.user_attrs}
    assert all(again[t.number].params == t.params for t in stopped)


def wait_for_trials(folder, count, name="toy"):
    """Until that many trials have begun."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if len(list((folder / "multirun" / name).glob("*/account.txt"))) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("no trial began")


@pytest.mark.parametrize("sampler", ["GridSampler", "BruteForceSampler"])
def test_grid_runs_every_point_once(tmp_path, sampler):
    """Its budget is the grid, in any number of workers; a further run finds it complete."""
    grid = (
        f"hydra.sweeper.sampler={{_target_: optuna.samplers.{sampler}}}",
        "x=choice(0,1)",
        "hydra.sweeper.n_trials=null",
        *JOBLIB,
    )
    sweep(tmp_path, *grid)
    points = sorted((t.params["x"], t.params["depth"]) for t in load(tmp_path).trials)
    assert points == [(x, depth) for x in (0, 1) for depth in (1, 2, 3)]
    assert "is complete: 6 trials" in sweep(tmp_path, *grid).stdout


def test_a_grid_leaves_out_what_a_condition_makes_equal(tmp_path):
    """`width_2` varies where it is used; elsewhere the depth alone makes a point."""
    words = ("x=0", "depth=choice(1,2)", "width_2=choice(4,8)", "hydra.sweeper.n_trials=9")
    condition = "+hydra.sweeper.conditions={width_2: 'depth > 1'}"
    sweep(
        tmp_path, "hydra.sweeper.sampler={_target_: optuna.samplers.GridSampler}", *words, condition
    )
    points = sorted(tuple(t.params.values()) for t in load(tmp_path).trials)
    assert points == [(1,), (2, 4), (2, 8)]


@pytest.mark.parametrize(
    "sampler", ["RandomSampler", "NSGAIISampler", "TPESampler", "QMCSampler", "CmaEsSampler"]
)
def test_samplers_are_nodes(tmp_path, sampler):
    """Each samples the space, or names the package that it needs."""
    node = f"hydra.sweeper.sampler={{_target_: optuna.samplers.{sampler}}}"
    try:
        __import__({"QMCSampler": "scipy", "CmaEsSampler": "cmaes"}.get(sampler, "optuna"))
    except ImportError:
        done = sweep(tmp_path, node, code=2)
        assert f"optuna.samplers.{sampler} needs a package more: pip install" in done.stderr
    else:
        sweep(tmp_path, node)
        assert len({t.params["x"] for t in load(tmp_path).trials}) == 6


def test_several_objectives(tmp_path):
    """Two metrics, two directions; reports are no error, and nothing is pruned."""
    sweep(
        tmp_path,
        "hydra.sweeper.metric=[value,cost]",
        "hydra.sweeper.direction=[minimize,maximize]",
        "hydra.sweeper.sampler={_target_: optuna.samplers.NSGAIISampler, population_size: 4}",
    )
    trials = load(tmp_path).trials
    assert [t.values[1] for t in trials] == [t.params["depth"] for t in trials]


def test_conditional_parameters_are_sampled_where_their_condition_holds(tmp_path):
    """Elsewhere the composed value stands."""
    sweep(tmp_path, "width_2=range(2,5)", "+hydra.sweeper.conditions.width_2='depth > 1'")
    trials = load(tmp_path).trials
    assert {("width_2" in t.params) == (t.params["depth"] > 1) for t in trials} == {True}


def test_the_live_line_needs_a_terminal(tmp_path):
    """On a terminal one line is redrawn; the end is the same table."""
    keeper, terminal = pty.openpty()
    with subprocess.Popen(
        command("sleep=0.2"), cwd=tmp_path, env=environment(), stdout=terminal, stderr=terminal
    ) as process:
        process.wait(timeout=60)
    os.close(terminal)
    printed = b""
    try:
        while chunk := os.read(keeper, 65536):
            printed += chunk
    except OSError:
        pass  # the other side is closed
    assert b"\r\x1b[Ktoy: " in printed
    assert b"toy: 6/6 trials, best " in printed


def test_a_structured_config_is_part_of_the_identity(tmp_path):
    """Enums, paths, bytes and missing keys: the study goes on with equal ones, and names others."""
    task = [sys.executable, str(APP.with_name("structured.py")), "-m", "hydra.sweep.dir=m"]
    task += ["x=interval(0,2)", "hydra.sweeper.n_trials=2"]
    for word, code, said in (
        ("need=3", 0, "2/2 trials"),
        ("need=3", 0, "is complete: 2 trials"),
        ("colour=blue", 2, "colour was red, is blue (and 1 more)"),
        ("+hydra.sweeper.conditions={x: 'colour == \"blue\"'}", 2, "nothing varies"),
    ):
        done = subprocess.run(
            [*task, word],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert said in done.stdout + done.stderr
