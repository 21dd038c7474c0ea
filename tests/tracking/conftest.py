"""Fixtures that the tests of tracking share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """One database per test file; its folder's name has a space."""
    return f"sqlite:///{tmp_path_factory.mktemp('a store')}/mlflow.db"
