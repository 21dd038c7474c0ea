"""The layers hold, over all files; and a leak that is planted in a copy is found, for each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import PROJECT
from tests.system.contracts import CONTRACTS, SWEEPER, imports, violations


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_source_keeps_the_contract(contract):
    """No file breaks it; a failure prints the contract, the file and the import."""
    assert sorted(text for name, text in violations(PROJECT) if name == contract) == [], CONTRACTS[
        contract
    ]


PLUGIN = SWEEPER.replace(".", "/")
LEAKS = [  # contract, file, what is written at its end
    ("layer", "mnist_study/nn/layers.py", "def f():\n    from mnist_study.tracking import client"),
    ("layer", "mnist_study/nn/layers.py", "def f():\n    import mnist_study.study.champion as c"),
    ("layer", "mnist_study/run.py", "if TYPE_CHECKING:\n    from mnist_study.job import job"),
    ("layer", "mnist_study/data/cache.py", "from ..nn import layers"),
    ("layer", "mnist_study/stats.py", "import_module('mnist_study.report.page')"),
    ("layer", "mnist_study/tracking/client.py", "from mnist_study.tracking.__main__ import main"),
    ("layer", "mnist_study/helpers.py", "pass"),
    ("cycle", "mnist_study/nn/layers.py", "def f():\n    import mnist_study.nn.training"),
    ("fast", "mnist_study/nn/training.py", "from mnist_study.nn import fast"),
    ("fast", "mnist_study/report/measures.py", "import mnist_study.nn.fast.packed"),
    ("numpy", "mnist_study/nn/losses.py", "import scipy.linalg"),
    ("numpy", "mnist_study/nn/fast/packed.py", "def f():\n    import optuna"),
    ("numpy", "mnist_study/data/png_tree.py", "import imageio.v3"),
    ("numpy", "mnist_study/data/cache.py", "from mnist_study.config import section"),
    ("textbook", "mnist_study/nn/textbook.py", "from mnist_study.data import mnist"),
    ("textbook", "mnist_study/nn/textbook.py", "def f():\n    import mnist_study.nn.layers"),
    (
        "textbook",
        "mnist_study/nn/textbook.py",
        f"def f():\n    import mnist_study.data{30 * chr(10)}",
    ),
    ("textbook", "mnist_study/nn/__init__.py", "from mnist_study.nn import textbook"),
    ("mlflow", "mnist_study/tracking/recorder.py", "def f():\n    import mlflow"),
    ("mlflow", "mnist_study/report/page.py", "from mlflow.entities import Run"),
    ("matplotlib", "mnist_study/study/champion.py", "def f():\n    import matplotlib.pyplot as p"),
    ("sweeper", "mnist_study/job.py", f"from {SWEEPER} import _worker"),
    ("sweeper", "mnist_study/report/callback.py", f"def f():\n    import {SWEEPER}._config"),
    ("sweeper", "mnist_study/tracking/client.py", f"from {SWEEPER} import cores"),
    ("plugin", f"{PLUGIN}/_space.py", "def f():\n    from mnist_study import stats"),
    ("plugin", f"{PLUGIN}/_space.py", "import mlflow"),
    ("folder", "mnist_study/nn/more_{}.py", "pass"),
    ("file", "mnist_study/nn/layers.py", 250 * "pass\n"),
    ("function", "mnist_study/nn/layers.py", f"def f():\n{40 * ('    pass' + chr(10))}"),
]


def test_every_contract_has_a_leak():
    """No contract goes untested."""
    assert {contract for contract, _, _ in LEAKS} == CONTRACTS.keys()


@pytest.mark.parametrize(("contract", "file", "leak"), LEAKS)
def test_a_planted_leak_is_refused(contract, file, leak, tmp_path):
    """A copy of the source that breaks one contract in one place is found out, and where."""
    for top in ("mnist_study", "hydra_plugins"):
        ignore = shutil.ignore_patterns("__pycache__", "embedded")
        shutil.copytree(PROJECT / top, tmp_path / top, ignore=ignore)
    before = violations(tmp_path)
    for path in {tmp_path / file.format(number) for number in range(13)}:
        with path.open("a") as source:
            source.write(f"\n{leak}\n")
    found = {text for name, text in violations(tmp_path) - before if name == contract}
    place = "nn" if "__init__" in file or "{}" in file else Path(file).stem
    assert any(place in text for text in found)


def test_no_test_module_imports_another():
    """Helpers lie beside the tests in files of their own."""
    for path in (PROJECT / "tests").rglob("*.py"):
        names = {one.what for one in imports("tests", "tests", path.read_text())}
        assert not {n for n in names if n.startswith("tests.") and ".test_" in n}, path


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
