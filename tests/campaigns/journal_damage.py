"""Damaged journals: the same command goes on, or one sentence names the way out, which works.

    python -m tests.campaigns.journal_damage [COUNT [SEED]]

It damages a study's journal COUNT times (100) in each of four ways, types the command of the study
again, and where that is refused types what the sentence says, and the command once more.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.plugin.sweeping import command, environment, kept, load

Damage = Callable[[bytes, random.Random], bytes]
N_TRIALS = 5  # of the study that is damaged; the command after it asks for one more


def cut(data: bytes, dice: random.Random) -> bytes:
    """The end is lost."""
    return data[: dice.randrange(len(data))]


def nuls(data: bytes, dice: random.Random) -> bytes:
    """A stretch was never written, as after a power cut; half the time up to the end."""
    start = dice.randrange(len(data))
    stop = len(data) if dice.random() < 0.5 else min(len(data), start + dice.randrange(1, 512))
    return data[:start] + bytes(stop - start) + data[stop:]


def flipped(data: bytes, dice: random.Random) -> bytes:
    """One bit is wrong."""
    place = dice.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]


def garbage(data: bytes, dice: random.Random) -> bytes:
    """A line that somebody else wrote."""
    lines = data.splitlines(keepends=True)
    alien = dice.choice(
        [b"hello\n", b"{}\n", b"[]\n", b"null\n", b"\xff\xfe\n", b'{"op_code":99}\n']
    )
    lines.insert(dice.randrange(len(lines) + 1), alien)
    return b"".join(lines)


DAMAGES: tuple[Damage, ...] = (cut, nuls, flipped, garbage)


def journal_of(folder: Path) -> Path:
    return folder / "multirun" / "toy" / "study.journal"


def search(folder: Path, n_trials: int) -> subprocess.CompletedProcess[str]:
    """The toy study's command, typed in `folder`."""
    return subprocess.run(
        command(f"hydra.sweeper.n_trials={n_trials}"),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def outcome(folder: Path, damaged: bytes) -> str:
    """What the command does with a journal of these bytes: `goes on`, or `after the way out`.

    Raises: AssertionError for everything else, a traceback or a file changed in secret.
    """
    journal = journal_of(folder)
    shutil.rmtree(folder, ignore_errors=True)
    journal.parent.mkdir(parents=True)
    journal.write_bytes(damaged)
    done = search(folder, N_TRIALS + 1)
    said = "goes on"
    if done.returncode == 2:
        said = "after the way out"
        assert done.stderr.count("\n") == 1, done.stderr
        assert str(journal) in done.stderr, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        if "another" in done.stderr:  # not recognised as a journal, or another search: stays as is
            assert journal.read_bytes() == damaged or "is another search" in done.stderr
            return "named as a stranger"
        way = done.stderr.partition("go on from")[2].partition(": ")[2]
        subprocess.run(way, shell=True, check=True, cwd=folder)
        done = search(folder, N_TRIALS + 1)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    assert len([t for t in kept(load(folder).trials) if t.state.is_finished()]) >= N_TRIALS + 1
    return said


def main(number: int, seed: int) -> int:
    """Print the outcomes of each kind of damage; 1 if one of them was wrong."""
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "made"
        made.mkdir()
        assert search(made, N_TRIALS).returncode == 0
        data = journal_of(made).read_bytes()
        for damage in DAMAGES:
            dice, outcomes = random.Random(seed), Counter[str]()
            for turn in range(number):
                damaged = damage(data, dice)
                try:
                    outcomes[outcome(Path(name) / "damaged", damaged)] += 1
                except AssertionError as error:
                    wrong += 1
                    Path(f"wrong-{damage.__name__}-{turn}.journal").write_bytes(damaged)
                    print(f"{damage.__name__} {turn}: {error}", flush=True)
            print(f"{damage.__name__}: {dict(outcomes)}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*(words + [100, 0][len(words) :])))
