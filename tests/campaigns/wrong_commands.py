"""Wrong command lines and files over all groups: each costs one sentence and exit code 2.

    python -m tests.campaigns.wrong_commands [GROUP ...]

runs each in an empty folder and prints a table; the exit code is 1 if one did worse. About ten
minutes on two cores. The suite runs a few of them, drawn with a seed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.campaigns.mistakes import DOORS, FILES, RUNS, SEARCHES

LINES = 3  # on stderr, at most
WORKERS = 2
TIMEOUT = 120  # seconds; what trains takes longer than being refused
SHORT = ["training.epochs=1", "model.depth=1", "training.batch_size=1000"]  # if it is not refused


@dataclass(frozen=True)
class Mistake:
    """One command that must be refused, and the files that lie in its folder."""

    group: str
    words: tuple[str, ...]
    named: str  # what the sentence must name: the key, the file, the option
    module: str = "mnist_study"
    files: Mapping[str, bytes | None] = field(default_factory=dict)  # None: a folder
    cwd: str | None = None  # instead of an empty folder

    @property
    def command(self) -> list[str]:
        """As it is typed."""
        return [sys.executable, "-m", self.module, *self.words]


def mistakes() -> Iterator[Mistake]:
    """All of them."""
    for group, typed in RUNS.items():
        none = () if group == "tracking" else ("tracking=none",)
        for words, named in typed.items():
            yield Mistake(group, (*none, *_fast(words), *words.split()), named)
    for words, (named, files) in FILES.items():
        yield Mistake("files", ("tracking=none", *_fast(words), *words.split()), named, files=files)
    for words, (named, files) in SEARCHES.items():
        search = ("+sweep=optuna", "tracking=none", "hydra.sweeper.n_trials=2", "engine=local")
        search += ("study.champion_seeds=0", *_fast(words))
        yield Mistake("search", (*search, *words.split()), named, files=files)
    for typed, (named, files) in DOORS.items():
        module, *words = typed.split()
        yield Mistake("doors", tuple(words), named, f"mnist_study.{module}", files)
    yield Mistake("place", ("tracking=none", *_fast("")), "outputs", cwd="/sys")  # nobody may write


def faults(mistake: Mistake, folder: Path) -> list[str]:
    """Run the command in `folder`; what is wrong with how it ends."""
    for name, content in mistake.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
    before = _listing(folder)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("MLFLOW_TRACKING_URI", None)
    try:
        done = subprocess.run(
            mistake.command,
            cwd=mistake.cwd or folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"no end after {TIMEOUT} s"]
    return list(_complaints(mistake, done, before, _listing(folder)))


def _complaints(
    mistake: Mistake,
    done: subprocess.CompletedProcess[str],
    before: Mapping[str, bytes],
    after: Mapping[str, bytes],
) -> Iterator[str]:
    lines = done.stderr.strip().splitlines()
    if done.returncode != 2:
        yield f"exit code {done.returncode}"
    if "Traceback" in done.stderr + done.stdout:
        yield f"a traceback: {lines[-1] if lines else ''}"
    elif not lines:
        yield "no word on stderr"
    elif len(lines) > LINES:
        yield f"{len(lines)} lines on stderr"
    if mistake.named not in done.stderr:
        yield f"{mistake.named!r} is not named: {' | '.join(lines)[:200]}"
    if changed := sorted(k for k in {**before, **after} if before.get(k) != after.get(k)):
        yield f"written: {', '.join(changed[:3])}"


def _fast(words: str) -> list[str]:
    """Settings that end a run soon if the mistake is not seen, but for keys that are typed."""
    return [word for word in SHORT if word.partition("=")[0] not in words and "model=" not in words]


def _listing(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def _tried(mistake: Mistake) -> list[str]:
    with TemporaryDirectory() as folder:
        return faults(mistake, Path(folder))


def main(groups: list[str]) -> int:
    """Run the campaign; the exit code."""
    chosen = [mistake for mistake in mistakes() if not groups or mistake.group in groups]
    bad = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for mistake, found in zip(chosen, pool.map(_tried, chosen), strict=True):
            bad += bool(found)
            typed = [w for w in mistake.words if w not in (*SHORT, "tracking=none")]
            verdict = f"WRONG: {'; '.join(found)}" if found else "refused"
            name = mistake.module.removeprefix("mnist_study.")
            print(f"{mistake.group:9} {name} {' '.join(typed)[:90]:90} {verdict}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} refused with one sentence and nothing written")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
