"""The trials of a study: what counts, what is failed, what is tried again; locks, torn files."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from hydra_plugins.hydra_optuna_study import best_table
from hydra_plugins.hydra_optuna_study._process import process_of, start_of, this_process
from hydra_plugins.hydra_optuna_study._storage import StorageLocation
from hydra_plugins.hydra_optuna_study._trials import fail_stale_trials, failure_of, trials_by_state


@pytest.fixture
def study(tmp_path):
    return optuna.create_study(
        study_name="s", storage=StorageLocation(str(tmp_path / "s.journal")).open()
    )


def begin(study, worker=None):
    """A running trial, signed by a worker or by nobody."""
    trial = study.ask()
    if worker:
        trial.set_user_attr("worker", worker.attrs())
    trial.suggest_float("x", 0, 1)
    return trial


def dead():
    """A process that has ended."""
    return replace(this_process(), started="0")


def test_a_dead_workers_trial_is_tried_again_with_equal_parameters(study):
    """Its retry is queued with the same point, and the dead trial counts no more."""
    trial = begin(study, dead())
    fail_stale_trials(study, max_retries=2)
    trials = trials_by_state(study)
    assert (len(trials.waiting), len(trials.running), trials.finished, trials.replaced) == (
        1,
        0,
        0,
        1,
    )
    assert trials.waiting[0].params == trial.params
    assert failure_of(study.trials[0]) == "its worker died; it is tried again"


def test_a_live_workers_trial_is_left_alone(study):
    """Also that of another controller, and that of another machine, which cannot be seen."""
    begin(study, this_process())
    begin(study, replace(dead(), host="elsewhere"))
    fail_stale_trials(study, max_retries=2)
    assert len(trials_by_state(study).running) == 2
    fail_stale_trials(study, max_retries=2, dead_hosts=["elsewhere"])  # the user knows better
    assert len(trials_by_state(study).running) == 1


def test_a_worker_that_ended_works_on_nothing(study):
    """Its process may live on, in a pool or as the controller; other workers' trials stay."""
    for number in (3, 4):
        trial = begin(study)
        trial.set_user_attr("worker", {**this_process().attrs(), "number": number})
    fail_stale_trials(study, max_retries=2, ended=range(3, 4))
    trials = trials_by_state(study)
    assert [t.number for t in trials.running] == [1]
    assert (len(trials.waiting), trials.replaced) == (1, 1)


def test_an_unsigned_trial_lost_its_worker_while_it_was_claimed(study):
    """Claiming and signing are one step under the lock, so nobody works on it."""
    study.ask()
    fail_stale_trials(study, max_retries=2)
    assert trials_by_state(study).replaced == 1


def die(study, deaths, *, alone, steps=()):
    """Let the one trial of the study die so often; whoever controlled it lives on if `alone`."""
    for k in range(deaths):
        trial = study.ask()
        controller = this_process() if alone else dead()
        trial.set_user_attr("worker", {**dead().attrs(), "controller": controller.attrs()})
        for step in range(steps[k] if steps else 0):
            trial.report(0.5, step)
        fail_stale_trials(study, max_retries=2)
    return trials_by_state(study)


def test_retries_end(study):
    """A trial that ends its worker is finished, as failed, after `max_retries`."""
    trials = die(study, 3, alone=True)
    assert (trials.finished, trials.replaced, len(trials.waiting)) == (1, 2, 0)
    assert failure_of(trials.failed[0]) == "its worker died, after 2 retries"


def test_a_retry_that_came_further_is_not_counted(study):
    """Three workers of one trial may be killed at random as long as it gets on."""
    trials = die(study, 4, alone=True, steps=[1, 2, 3, 4])
    assert len(trials.waiting) == 1


def test_deaths_of_everything_are_no_trials_fault(study):
    """As often as they come, a trial that gets on is tried again; so is one while others end."""
    assert len(die(study, 6, alone=False, steps=[1, 2, 3, 4, 5, 6]).waiting) == 1
    for _ in range(5):
        trials = die(study, 1, alone=False)
        other = optuna.trial.create_trial(state=TrialState.COMPLETE, value=1.0)
        study.add_trial(other)
    assert len(trials.waiting) == 1


def test_a_trial_that_takes_the_machine_with_it_is_tried_three_times(study):
    """Running at three deaths of everything, with no step reported in between, it is failed."""
    trials = die(study, 3, alone=False)
    assert (trials.finished, len(trials.waiting)) == (1, 0)
    reason = "its worker died with others, 3 times in a row and without progress"
    assert failure_of(trials.failed[0]) == reason


def test_workers_that_died_together_are_not_blamed(study):
    """A pool ends with the first of its processes, and nobody knows which that was."""
    for _ in range(2):
        trial = study.ask()
        trial.set_user_attr("worker", {**dead().attrs(), "controller": this_process().attrs()})
    fail_stale_trials(study, max_retries=0)
    assert len(trials_by_state(study).waiting) == 2


def test_failing_stale_trials_twice_or_dying_within_it_loses_and_doubles_nothing(study):
    """The retry is queued before the trial is failed; a second call finds the work done."""
    trial = begin(study, dead())
    attrs = {"retry_of": trial.number, "retries": 1}
    study.add_trial(optuna.create_trial(state=TrialState.WAITING, user_attrs=attrs))  # died here
    fail_stale_trials(study, max_retries=2)
    fail_stale_trials(study, max_retries=2)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_trial_that_the_heartbeat_failed_is_tried_again(study):
    """It has no reason of its own; the next call queues its retry."""
    trial = begin(study, replace(dead(), host="elsewhere"))
    study.tell(trial, state=TrialState.FAIL)
    fail_stale_trials(study, max_retries=2)
    assert len(trials_by_state(study).waiting) == 1
    assert failure_of(study.trials[0]) == "its worker stopped answering"


def test_a_trials_own_failure_is_final(study):
    """A trial that failed by itself counts, and is not tried again."""
    trial = begin(study, dead())
    trial.set_user_attr("failure", "ValueError: as asked")
    study.tell(trial, state=TrialState.FAIL)
    fail_stale_trials(study, max_retries=2)
    assert trials_by_state(study).finished == len(study.trials) == 1


def test_the_table_names_the_metric(study):
    """A column is called by what it measures; a study that names none has a value."""
    study.tell(begin(study), 0.25)
    assert best_table(study).split()[:3] == ["trial", "value", "x"]
    study.set_user_attr("identity", {"metric": ["validation/accuracy"]})
    assert best_table(study).split()[:3] == ["trial", "validation/accuracy", "x"]


def test_failures_are_judged_from_the_tenth_trial_on(study):
    """One early failure stops nothing; a rate that must be exceeded in the end does at once."""
    for k in range(6):
        study.tell(begin(study), state=TrialState.FAIL)
        assert trials_by_state(study).too_many_failures(0.5, n_trials=100) == (k == 5)
    assert trials_by_state(study).too_many_failures(0.0, n_trials=100)
    assert not trials_by_state(study).too_many_failures(1.0, n_trials=6)


def test_a_process_is_known_by_its_start():
    """A number that was handed out again is another process; a zombie is none."""
    me = this_process()
    assert me.is_here
    assert me.is_alive
    assert process_of(me.attrs()) == me
    assert not replace(me, started="1").is_alive
    assert not replace(me, boot="before").is_alive
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert start_of(child.pid) is None
    child.wait()
    assert start_of(child.pid) is None


def test_a_torn_line_is_taken_away(tmp_path):
    """What a full disk left of a line does not spoil the next one."""
    location = StorageLocation(str(tmp_path / "s.journal"))
    study = optuna.create_study(study_name="s", storage=location.open())
    with open(location.name, "ab") as file:
        file.write(b'{"op_code":4,"worker')
    study.set_user_attr("after", 1)
    assert optuna.load_study(study_name="s", storage=location.open()).user_attrs == {"after": 1}


def test_a_new_journal_that_a_kill_left_torn_is_begun_again(tmp_path):
    """A few bytes of the first line are ours; the same bytes of another file are not."""
    location = StorageLocation(str(tmp_path / "s.journal"))
    Path(location.name).write_bytes(b'{"op_c')
    assert optuna.create_study(study_name="s", storage=location.open()).trials == []
    Path(location.name).write_bytes(b'{"op_cx')
    with pytest.raises(SystemExit):
        optuna.create_study(study_name="t", storage=location.open())
    assert Path(location.name).read_bytes() == b'{"op_cx'


def hold(name, held):
    with StorageLocation(name).lock():
        held.set()
        multiprocessing.Event().wait()


def test_a_lock_dies_with_its_holder(tmp_path):
    """kill -9 of a worker that claims leaves nobody waiting."""
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    name = str(tmp_path / "s.journal")
    process = context.Process(target=hold, args=(name, held))
    process.start()
    assert held.wait(20)
    process.kill()
    with StorageLocation(name).lock():
        process.join()
    process.close()
