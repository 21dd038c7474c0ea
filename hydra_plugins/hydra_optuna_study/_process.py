"""Who a process is, so that another one can tell whether it still lives."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Process:
    """A process by host, boot, number and start; a number alone is handed out again."""

    host: str
    boot: str  # of the host's running kernel; a restarted machine has no process of before
    pid: int
    started: str  # clock ticks since boot, or ps's date where there is no /proc

    def attrs(self) -> dict[str, Any]:
        """As the user attribute of a trial."""
        return asdict(self)

    @property
    def is_here(self) -> bool:
        """Whether this machine can see it."""
        return self.host == this_host()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; meaningful only if it is here."""
        return self.boot == this_boot() and self.started == start_of(self.pid)


def process_of(attrs: dict[str, Any]) -> Process:
    """The process that `Process.attrs` described."""
    return Process(attrs["host"], attrs["boot"], attrs["pid"], attrs["started"])


def this_process() -> Process:
    """The process that asks."""
    return Process(this_host(), this_boot(), os.getpid(), start_of(os.getpid()) or "")


@lru_cache(maxsize=1)
def this_host() -> str:
    """The machine's name in the network."""
    return socket.gethostname()


@lru_cache(maxsize=1)
def this_boot() -> str:
    """An identifier of the machine's latest start, empty where the system names none."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def start_of(pid: int) -> str | None:
    """When the process with this number started; None if there is none, or only its corpse."""
    if not Path("/proc/self/stat").exists():
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # a number
        return shown.stdout.strip() or None
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
