"""A damaged journal: the study goes on, or one sentence names the line and the way out."""

from __future__ import annotations

import random

import pytest

from hydra_plugins.hydra_optuna_study import find_storage
from tests.campaigns.journal_damage import DAMAGES, N_TRIALS, journal_of, outcome, search


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> bytes:
    """A whole journal of a finished study."""
    folder = tmp_path_factory.mktemp("made")
    assert search(folder, N_TRIALS).returncode == 0
    return journal_of(folder).read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_opens_or_is_named(damage, data, tmp_path, capsys):
    """A hundred of each kind: it is read and written, or untouched, and one line says so."""
    dice, journal = random.Random(0), tmp_path / "study.journal"
    for _ in range(100):
        damaged = damage(data, dice)
        journal.write_bytes(damaged)
        try:
            storage = find_storage(str(journal), tmp_path).open()
        except SystemExit:
            said = capsys.readouterr().err
            assert said.count("\n") == 1
            assert f"of {journal} is damaged" in said or f"{journal} is not a journal" in said
            healed = damaged[: damaged.rfind(b"\n") + 1]
            assert journal.read_bytes() in (damaged, healed)
        else:
            storage.create_new_study([], "another one")
            assert find_storage(str(journal), tmp_path).open().get_all_studies()


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_command_goes_on_or_names_a_way_out_that_works(damage, data, tmp_path):
    """The study's own command, typed again; and after what its sentence says, once more."""
    outcome(tmp_path / "damaged", damage(data, random.Random(3)))
