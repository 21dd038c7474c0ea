"""Commands as a user types them: in a subprocess, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def environment() -> dict[str, str]:
    """Of a command: warnings of our own code are errors, and no store is given."""
    given = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "error:::mnist_study",
        "COLUMNS": "200",
    }
    given.pop("MLFLOW_TRACKING_URI", None)
    return given


def mnist_study(*words: str, folder: Path, module: str = "mnist_study", timeout: float = 240):
    """Run `python -m mnist_study WORDS` in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
