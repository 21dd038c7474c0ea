"""The public module: what it exports, what its import costs, and `instantiate`."""

from __future__ import annotations

import inspect
import subprocess
import sys

import hydra
import hydra.utils
import optuna
import pytest

import hydra_plugins.hydra_optuna_study as public
from tests.plugin.sweeping import ROOT, environment


def test_a_run_without_a_study_imports_no_optuna():
    """Everything that a program needs at import time is free of it."""
    names = "FollowUp, StudyCallback, cores, current_trial, defer, instantiate"
    code = f"import sys; from {public.__name__} import {names}; print('optuna' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_every_public_name_is_found_but_not_listed():
    """Hydra 1.3 looks at every member of a plugin's module, which would import Optuna."""
    listed = {name for name, _ in inspect.getmembers(public)}
    for name in public.__all__:
        assert callable(getattr(public, name))
        assert name not in listed
    with pytest.raises(AttributeError, match="has no attribute 'current_trail'"):
        _ = public.current_trail


def test_a_callback_without_methods_does_nothing():
    """Each method of the base class may be called, and no study follows."""
    callback = public.StudyCallback()
    study = optuna.create_study()
    callback.check({})
    callback.study_started(study, {})
    callback.trials_changed(study)
    callback.study_ended(study, interrupted=False)
    assert callback.follow_up(study) is None


def test_nodes_become_objects_with_plain_arguments():
    """Nested nodes first, lists and mappings without a trace of OmegaConf, `extra` on top."""
    inner = {"_target_": "builtins.list", "_args_": [[1, 2]]}
    made = public.instantiate({"_target_": "builtins.dict", "a": inner, "b": {"c": [3]}}, d=4)
    assert made == {"a": [1, 2], "b": {"c": [3]}, "d": 4}
    assert type(made["b"]) is dict
    assert type(made["b"]["c"]) is list


def test_a_partial_node_waits_for_its_call():
    """Its function and its arguments can be looked at before."""
    maker = public.instantiate({"_target_": "fractions.Fraction", "_partial_": True})
    assert maker.func.__name__ == "Fraction"
    assert maker(1, 2) == 0.5


def test_errors_are_those_of_the_target():
    """No wrapper of Hydra's stands before the reason."""
    with pytest.raises(ZeroDivisionError):
        public.instantiate({"_target_": "fractions.Fraction", "_args_": [1, 0]})
    with pytest.raises(ImportError, match=r"Error loading 'fractions\.Nothing'"):
        public.instantiate({"_target_": "fractions.Nothing"})


def test_what_a_target_makes_is_checked_before_it_is_called(tmp_path):
    """A class, or an annotated function, of the right kind; nested ones from the same packages."""
    kind = optuna.samplers.BaseSampler
    made = tmp_path / "made"
    for node in (
        {"_target_": "os.mkdir", "path": str(made)},
        {"_target_": "optuna.samplers.TPESampler", "gamma": {"_target_": "os.mkdir", "path": made}},
        {"_target_": "optuna.pruners.NopPruner"},
    ):
        with pytest.raises(TypeError, match=r"must be given|must come from"):
            public.instantiate(node, kind)
    assert not made.exists()
    assert isinstance(public.instantiate({"_target_": f"{__name__}.annotated"}, kind), kind)


def annotated() -> optuna.samplers.RandomSampler:
    return optuna.samplers.RandomSampler()


@pytest.mark.skipif(hydra.__version__ < "1.4", reason="Hydra 1.3 has no whitelist")
def test_a_whitelist_of_the_application_holds():
    """What it does not name is neither looked up nor called."""
    node = {"_target_": "optuna.samplers.RandomSampler"}
    with hydra.utils.execution_whitelist(["fractions.*"]), pytest.raises(Exception, match="optuna"):
        public.instantiate(node, optuna.samplers.BaseSampler)
