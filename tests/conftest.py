"""Settings that every test shares."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # tests talk to this machine only


pytest_plugins = ["tests.mlflow_server", "tests.postgres_server"]  # fixtures that need a server


@pytest.fixture(autouse=True)
def _strict_numerics():
    """A division by zero, an overflow or a NaN in the arithmetic is an error, never a warning."""
    with np.errstate(all="raise", under="ignore"):
        yield
