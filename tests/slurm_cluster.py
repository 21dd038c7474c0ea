"""A real Slurm of one node on loopback ports, with its accounting, for tests; nothing outlives it.

Without accounting nobody can ask Slurm what became of a job: submitit would wait for a killed one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from getpass import getuser
from pathlib import Path

import pytest

from tests.needs import needs

COMMANDS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacct")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])  # an ordinary user's has it not

SLURM = """
ClusterName=study
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthInfo=socket={folder}/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting}
AccountingStoragePass={folder}/munge
MpiDefault=none
KillWait=2
SchedulerParameters=batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000
PartitionName=main Nodes=ALL Default=YES
"""
ACCOUNTING = """
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting}
AuthInfo=socket={folder}/munge
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser={user}
StorageLoc=accounts
PidFile={folder}/slurmdbd.pid
"""


class Cluster:
    """Munge, a database, Slurm's accounting, its controller and one node that claims four CPUs."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="study-slurm-"))
        self.conf = self.folder / "slurm.conf"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        folder, host = self.folder, socket.gethostname().split(".")[0]
        facts = {"folder": folder, "host": host, "user": getuser(), **_ports()}
        for name in ("state", "spool", "data/mysql"):
            (folder / name).mkdir(parents=True)
        for name, content in (("slurm.conf", SLURM), ("slurmdbd.conf", ACCOUNTING)):
            (folder / name).write_text(content.format(**facts))
            (folder / name).chmod(0o600)
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o400)
        munge = [f"--{what}={folder}/{what}" for what in ("pid-file", "log-file", "seed-file")]
        munge += [f"--key-file={folder}/key", f"--socket={folder}/munge"]
        self.run("munged", "--foreground", "--force", *munge)
        self.run(
            "mariadbd", "--no-defaults", f"--datadir={folder}/data", f"--user={getuser()}",
            "--bind-address=127.0.0.1", f"--port={facts['database']}", f"--socket={folder}/sock",
            "--skip-grant-tables",
        )  # fmt: skip
        self.wait_for(lambda: (folder / "munge").exists() and (folder / "sock").exists())
        self.run("slurmdbd", "-D")
        self.wait_for(lambda: _listens(facts["accounting"]))
        self.run("slurmctld", "-D")
        self.wait_for(lambda: _listens(facts["controller"]))
        self.run("slurmd", "-D", "-N", host)
        self.wait_for(lambda: "idle" in self.ask("sinfo", "-h"))

    def run(self, *command: str) -> None:
        """Start a server; what it says goes to a file of its name."""
        with (self.folder / f"{command[0]}.log").open("wb") as log:
            program = shutil.which(command[0], path=PATH)
            environment = os.environ | {"SLURM_CONF": str(self.conf)}
            self.processes.append(
                subprocess.Popen(
                    [program, *command[1:]], env=environment, stdout=log, stderr=log, cwd="/"
                )
            )

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands answers."""
        environment = os.environ | {"SLURM_CONF": str(self.conf)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout

    def wait_for(self, condition) -> None:
        deadline = time.monotonic() + 40
        while not condition():
            if time.monotonic() > deadline:
                logs = sorted(self.folder.glob("*.log"))
                raise AssertionError("\n".join(f"{p.name}: {p.read_text()[-600:]}" for p in logs))
            time.sleep(0.1)

    def stop(self) -> None:
        """End the servers, the last one first."""
        self.ask("scancel", "--state=RUNNING", f"--user={getuser()}")
        for process in reversed(self.processes):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()
            process.wait()
        shutil.rmtree(self.folder)


def _ports() -> dict[str, int]:
    """A free port for each server that has one."""
    names = ("controller", "node", "accounting", "database")
    probes = {name: socket.create_server(("127.0.0.1", 0)) for name in names}
    ports = {name: probe.getsockname()[1] for name, probe in probes.items()}
    for probe in probes.values():
        probe.close()
    return ports


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


@pytest.fixture(scope="module")
def slurm():
    missing = [name for name in COMMANDS if shutil.which(name, path=PATH) is None]
    needs(not missing, f"Slurm ({', '.join(missing)})")
    made = Cluster()
    try:
        made.start()
        yield made
    finally:
        made.stop()
