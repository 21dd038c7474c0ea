"""The operating system's side of a sweep: processes, cores, signals, early exits, folders."""

from __future__ import annotations

import difflib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn


@dataclass(frozen=True)
class Process:
    """A process by host, boot, number and start, because numbers are used again."""

    host: str
    boot: str  # of the host's running kernel; no process survives a restart
    pid: int
    started: str  # clock ticks since boot, or the date that ps prints where there is no /proc

    def attrs(self) -> dict[str, Any]:
        """As the user attribute of a trial."""
        return asdict(self)

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; meaningful only if it is here."""
        return self.boot == this_boot() and self.started == start_of(self.pid)


def process_of(attrs: dict[str, Any]) -> Process:
    """The inverse of `Process.attrs`; other keys are ignored."""
    return Process(attrs["host"], attrs["boot"], attrs["pid"], attrs["started"])


def this_process() -> Process:
    pid = os.getpid()
    return Process(socket.gethostname(), this_boot(), pid, start_of(pid) or "")


def this_boot() -> str:
    """An identifier of the machine's latest start, empty where the system has none."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def start_of(pid: int) -> str | None:
    """When the process with this number started; None if there is none, or a zombie."""
    if not Path("/proc/self/stat").exists():
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        printed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # a number
        return printed.stdout.strip() or None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name in brackets may hold anything
    return None if fields[0] in "ZX" else fields[19]  # proc(5): state is field 3, starttime 22


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


_busy = threading.Event()  # whether a worker runs in this process


def exit_with_parent(parent: int) -> None:
    """Watchdog: a pool process exits when `parent` dies; a busy one finishes its trial first.

    Without it an idle process waits for jobs that nobody will send: five minutes with joblib.
    """

    def watch() -> None:
        while os.getppid() == parent or _busy.is_set():
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=watch, name="watchdog", daemon=True).start()


@contextmanager
def busy() -> Iterator[None]:
    """Within, the watchdog leaves the process alone: a worker looks itself after each trial."""
    _busy.set()
    try:
        yield
    finally:
        _busy.clear()


SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; a cluster that takes its machine back
stop_requested = threading.Event()  # in this process; a controller shares it with its own worker
_handling = threading.Event()  # whether this process has the handler already


class Stopped(KeyboardInterrupt):
    """Raised inside a trial, at a report, when its study is to stop."""


@contextmanager
def stop_on_signal(notify: Callable[[], None] | None = None) -> Iterator[None]:
    """Within, the first signal sets `stop_requested` and calls `notify`; the next interrupts."""
    if _handling.is_set() or threading.current_thread() is not threading.main_thread():
        yield  # only a main thread may have a handler; a worker elsewhere reads the storage
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop_requested.is_set():
            raise KeyboardInterrupt
        stop_requested.set()
        if notify:  # not here: the thread that was interrupted may hold the storage's lock
            threading.Thread(target=notify, name="stop").start()

    stop_requested.clear()  # of an earlier study or worker in this process
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    _handling.set()
    try:
        yield
    finally:
        _handling.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def abort(sentence: str, code: int = 2) -> NoReturn:
    """Print one sentence to stderr and raise SystemExit, by default for a user's mistake."""
    print(sentence, file=sys.stderr, flush=True)
    raise SystemExit(code)


def no_place(path: Path) -> str | None:
    """Why nothing can be made at `path`, which does not exist; None if it can."""
    place = next(parent for parent in path.parents if os.path.lexists(parent))
    if not place.is_dir():
        return f"{place} is no folder"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"no permission to write {place}"
    return None


def study_name(value: Any) -> str:
    """A study's name is the name of its folder, too."""
    name = "" if value is None or isinstance(value, list | dict) else str(value)
    if name in ("", ".", "..") or "/" in name or not name.isprintable() or len(name.encode()) > 200:
        abort(
            "hydra.sweeper.study_name: the name of a folder must be given, 1 to 200 bytes without "
            f"/, got {name[:200]!r}"
        )
    return name


def sweep_folder(value: Any) -> Path:
    """`hydra.sweep.dir` as an absolute path, which can be made or written to."""
    folder = Path(str(value)).expanduser().absolute()
    if problem := no_place(folder / "0"):
        abort(f"hydra.sweep.dir: a folder to write to must be given, got {folder}: {problem}")
    return folder


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that refuses `name`: the most similar known name, if there is one."""
    near = difflib.get_close_matches(name, [str(k) for k in known], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def one_line(error: Exception) -> str:
    """The message of an error, without the advice that Hydra appends."""
    message = str(error).partition("\nAre you sure")[0].partition("See https")[0]
    return " ".join(message.split())


def is_disk_full(error: BaseException | None) -> bool:
    """Whether a full disk caused an error, directly or as the cause of a wrapping error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "database or disk is full" in str(error):  # SQLite's message, in a driver's own class
            return True
        error = error.__cause__ or error.__context__
    return False
