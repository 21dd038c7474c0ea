"""A real PostgreSQL on a free loopback port, for tests; it can be stopped and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.needs import needs, needs_package


class Server:
    """A cluster in a temporary folder; an unprivileged user runs it if the tests are root's."""

    def __init__(self, binaries: Path) -> None:
        self.binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="study-postgres-"))
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"postgresql+psycopg://study@127.0.0.1:{self.port}/postgres"
        init = [binaries / "initdb", "-D", self.folder / "data", "-U", "study", "-A", "trust", "-N"]
        subprocess.run(init, user=self.user, check=True, stdout=subprocess.DEVNULL)
        self.start()

    def start(self) -> None:
        settings = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-c", "fsync=off"]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.folder / "data", *settings],
                user=self.user,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                import psycopg

                psycopg.connect(
                    f"host=127.0.0.1 port={self.port} user=study dbname=postgres"
                ).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise AssertionError("PostgreSQL did not start")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)  # "fast": connections are cut
        self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def postgres():
    needs_package("psycopg", "postgres")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [shutil.which("initdb")]
    needs(found[-1], "PostgreSQL")
    users = {user.pw_name for user in pwd.getpwall()}
    needs(os.geteuid() or "postgres" in users, "an unprivileged user to run PostgreSQL")
    made = Server(Path(found[-1]).parent)
    yield made
    made.stop()
    shutil.rmtree(made.folder)
    made.folder.with_name(f"{made.folder.name}.log").unlink()
