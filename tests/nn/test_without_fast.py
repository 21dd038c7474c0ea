"""`nn/fast` is speed and nothing else: without it the numbers are the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.command import PROJECT

LINE = "from mnist_study.nn import fast  #"
PLAIN = "from mnist_study.nn import feed as fast  #"


def test_the_numerical_tests_pass_without_the_fast_folder(tmp_path):
    """The folder is deleted, one line of network.py changed, and every other test of nn passes."""
    for name in ("mnist_study", "conf", "tests", "hydra_plugins"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    shutil.rmtree(tmp_path / "mnist_study" / "nn" / "fast")
    shutil.rmtree(tmp_path / "tests" / "nn" / "fast")
    (tmp_path / "tests" / "nn" / "test_without_fast.py").unlink()
    network = tmp_path / "mnist_study" / "nn" / "network.py"
    source = network.read_text()
    assert source.count(LINE) == 1
    network.write_text(source.replace(LINE, PLAIN))
    words = ["-m", "pytest", "-q", "-p", "no:xdist", "-o", "addopts=", "tests/nn"]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_only_the_network_imports_the_fast_folder():
    """And nothing outside of it knows how pixels are packed."""
    importing, knowing = set(), set()
    for path in (PROJECT / "mnist_study").rglob("*.py"):
        name, source = path.relative_to(PROJECT / "mnist_study").as_posix(), path.read_text()
        if name.startswith("nn/fast/"):
            continue
        if "import fast" in source or "nn.fast" in source:
            importing.add(name)
        if any(word in source for word in ("pixel_order", "extents", "by_pixel", "prefix_lengths")):
            knowing.add(name)
    assert importing == {"nn/network.py"}
    assert not knowing
