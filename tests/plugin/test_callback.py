"""The calls that a program gets around a study, and the further study that it may ask for."""

from __future__ import annotations

import optuna

from tests.plugin.sweeping import account, load, sweep

CALLBACK = "hydra.sweeper.callback={_target_: callback.CallLog, file: calls.txt}"


def follow_up(folder):
    """The study that follows toy, and its name."""
    storage = load(folder)._storage
    (name,) = [s.study_name for s in storage.get_all_studies() if s.study_name != "toy"]
    return name, optuna.load_study(study_name=name, storage=storage)


def test_a_follow_up_runs_by_the_same_machinery(tmp_path):
    """It has a study and a folder of its own, keeps fixed overrides, and is resumed as usual."""
    sweep(tmp_path, CALLBACK, "sleep=0.001", "steps=2", "hydra.sweeper.n_trials=4")
    best = load(tmp_path).best_trial
    name, study = follow_up(tmp_path)
    assert name == f"toy-best-{best.number}"
    assert sorted(t.params["steps"] for t in study.trials) == [1, 2, 3]
    assert {t.value for t in study.trials} == {best.value}
    folder = f"toy/best-{best.number}"
    assert len(account(tmp_path, 2, folder)) == 2
    overrides = (tmp_path / "multirun" / folder / "2/.hydra/overrides.yaml").read_text()
    assert "- sleep=0.001\n" in overrides
    calls = [
        line for line in (tmp_path / "calls.txt").read_text().splitlines() if line != "changed"
    ]
    assert calls == [
        "checked",
        "started toy 4",
        "ended toy False",
        f"started {name} 4",
        f"ended {name} False",
    ]

    done = sweep(tmp_path, CALLBACK, "sleep=0.001", "steps=2", "hydra.sweeper.n_trials=4")
    assert f"study {name} is complete: 3 trials" in done.stdout
    assert len(follow_up(tmp_path)[1].trials) == 3


def test_the_callback_learns_how_a_study_ended(tmp_path):
    """A study that stops early counts as interrupted, and no study follows it."""
    rate = ("fail=raise", "depth=1", "hydra.sweeper.max_failure_rate=0.1")
    sweep(tmp_path, CALLBACK, *rate, code=1)
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert calls[:2] == ["checked", "started toy 6"]
    assert calls[-1] == "ended toy True"
