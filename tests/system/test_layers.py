"""The arrows between the rooms: data flows one way, heavy packages come when needed."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.command import PROJECT

PACKAGE = PROJECT / "mnist_study"
PLUGIN = PROJECT / "hydra_plugins" / "hydra_optuna_study"


def imports(path):
    """Dotted names of all that a file imports, inside functions too, but not for type checking."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize(
    "room", ["layers", "losses", "network", "optimizers", "schedules", "training"]
)
def test_the_mathematics_imports_only_numpy(room):
    """No tracker, sweeper or config library reaches the code that computes."""
    roots = {name.split(".")[0] for name in imports(PACKAGE / f"{room}.py")}
    assert roots <= {"numpy", "mnist_study"} | sys.stdlib_module_names


def users_of(package):
    return {
        path.stem
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == package for name in imports(path))
    }


def test_mlflow_has_one_door():
    """Only `tracking` imports MLflow."""
    assert users_of("mlflow") == {"tracking"}


def test_only_rooms_that_draw_import_matplotlib():
    """A room of figures or pictures, and no other."""
    drawing = users_of("matplotlib")
    assert "figures" in drawing
    assert all(name.endswith(("figure", "figures", "pictures")) for name in drawing)


def test_the_sweeper_knows_neither_digits_nor_mlflow():
    """The plugin works in any Hydra application."""
    roots = {name.split(".")[0] for path in PLUGIN.glob("*.py") for name in imports(path)}
    assert not roots & {"mnist_study", "mlflow"}


def test_help_needs_no_heavy_package():
    """`--help` answers fast because MLflow, Optuna, matplotlib and SciPy stay unimported."""
    code = (
        "import sys; sys.argv = ['mnist_study', '--help']; import runpy\n"
        "try: runpy.run_module('mnist_study', run_name='__main__')\n"
        "finally: print([name for name in ('mlflow', 'optuna', 'matplotlib', 'scipy', 'imageio')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
