"""Settings that every test shares."""

from __future__ import annotations

import gc
import os
import signal

import numpy as np
import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # tests talk to this machine only
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell ignores Ctrl-C for what it starts in the background, and children inherit that; the
    # processes that the tests interrupt must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Files that take minutes start first, so that two workers end together.
LONG = (
    "test_kill",
    "test_many_machines",
    "test_engines",
    "test_commands",
    "test_readmes",
    "test_study_failures",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


# fixtures that need a server
pytest_plugins = ["tests.mlflow_server", "tests.postgres_server", "tests.slurm_cluster"]


@pytest.fixture(autouse=True)
def _strict_numerics():
    """A division by zero, an overflow or a NaN in the arithmetic is an error, never a warning."""
    with np.errstate(all="raise", under="ignore"):
        yield


@pytest.fixture(autouse=True)
def _nothing_stays_frozen():
    """Hypothesis asks who refers to a random generator, and does not see frozen objects."""
    yield
    gc.unfreeze()
