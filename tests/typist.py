"""Many commands, a process each, that share one start: a parent has imported all and forks.

To import Hydra and NumPy costs a command about a second, and its mistake a few milliseconds.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.command import environment


class Typist:
    """Types commands, one after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def __call__(self, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """What `python -m mnist_study WORDS` in `folder` says, and its exit code."""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            files = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (stdout, stderr)]
            print(json.dumps([words, str(folder), *files]), file=self.process.stdin, flush=True)
            code = int(self.process.stdout.readline())
            said = [Path(file).read_text() for file in files]
        return subprocess.CompletedProcess(words, code, *said)


@contextmanager
def typist() -> Iterator[Typist]:
    """A typist, who goes when the block ends."""
    command = [sys.executable, "-m", "tests.typist"]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Typist(process)
        process.stdin.close()


def _run(words: list[str], folder: str, stdout: str, stderr: str) -> None:
    """In a child: become the command."""
    os.chdir(folder)
    for number, file in ((0, os.devnull), (1, stdout), (2, stderr)):
        os.dup2(os.open(file, os.O_RDWR), number)
    sys.argv = ["mnist_study", *words]
    code: object = 0
    try:
        runpy.run_module("mnist_study", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - the interpreter prints it, too
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def main() -> None:
    """Read a command a line, and print its exit code."""
    import mnist_study.cli
    import mnist_study.job  # noqa: F401 - what every command imports

    for line in sys.stdin:
        if (child := os.fork()) == 0:
            _run(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
