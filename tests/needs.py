"""What a test needs of the machine: without, it is left out; in CI it fails."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest


def needs(present: object, what: str) -> None:
    """Go on only if it is there."""
    if not present:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what} is missing")


def needs_package(name: str, extra: str) -> None:
    """Go on only if a package of one of our extras can be imported."""
    needs(find_spec(name), f"{name}: pip install 'mnist-study[{extra}]'")
