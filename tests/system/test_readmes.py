"""Every command of the READMEs, in the order in which it stands, as a reader would type it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from mnist_study.config import CONF
from tests.command import PROJECT

READMES = ["README.md", "conf/README.md", "hydra_plugins/README.md", "tests/benchmarks/README.md"]
RUN = "training.epochs=1"
SEARCH = f"{RUN} hydra.sweeper.n_trials=2 hydra.sweeper.workers=1 study.champion_seeds=0"
SEARCH += " model.width=16"
UNTRACKED = f"{SEARCH} tracking=none"
REPORT = "report.scale=0.001 'experiment=choice(network_2_constant,softmax_n)' training.seed=0"
RUNS = {  # command: what is added to make it short
    "python -m mnist_study +sweep=optuna": SEARCH,
    "python -m mnist_study": RUN,
    "python -m mnist_study model=softmax optimizer=adam schedule=cosine training.batch_size=150 "
    "training.epochs=5": RUN,
    "python -m mnist_study model.depth=4 model.activation=tanh training.seed=1 tracking=none": RUN,
    "python -m mnist_study --help": "",
    "python -m mnist_study.nn.textbook": "",
    "python -m mnist_study --cfg job": "",
    "python -m mnist_study data=idx data.root=fashion": f"{RUN} tracking=none",
    "python -m mnist_study experiment=network_2_constant": f"{RUN} tracking=none",
    "python -m mnist_study +sweep=optuna hydra.sweeper.study_name=wide sampler=random "
    "pruner=hyperband 'optimizer.lr=tag(log,interval(1e-3,2))'": UNTRACKED,
    "python -m mnist_study +sweep=pareto": UNTRACKED,
    "python -m mnist_study +sweep=widths": f"{UNTRACKED} model.depth=2 widths.first=16",
    "python -m mnist_study +sweep=report": REPORT,
    "python -m mnist_study.report": "",
    "python -m mnist_study +sweep=report report.scale=0.05 "
    "hydra.sweeper.study_name=brief": f"{REPORT} tracking=none",
    "python -m mnist_study.study list": "",
    "python -m mnist_study.study show optuna": "",
    "python -m tests.benchmarks.trainer": "--short --parts steps --optimizers sgd --out .",
    "python -m tests.benchmarks.study": "--short --parts books",
    "python -m tests.benchmarks.tracking": "--short --stores sqlite --repeats 1",
}
DATABASE = "postgresql+psycopg://me@db/studies"
AT = f"hydra.sweeper.storage={DATABASE} tracking.uri=http://runs:5000"
ENVIRONMENT = "makes an environment; .ci/run types it"
EXTRA = "installs a package"
MACHINES = "needs the machines db and runs; test_many_machines starts servers of its own"
CLUSTER = "needs a cluster; test_engines and test_slurm start one"
SERVER = "serves until Ctrl-C"
NOT_RUN = {  # command: why not
    "python3 -m venv .venv": ENVIRONMENT,
    ". .venv/bin/activate": ENVIRONMENT,
    "pip install -e .": ENVIRONMENT,
    "pip install -e '.[test]'": ENVIRONMENT,
    "python -m pytest": "runs this test; .ci/run types it",
    "pip install -e '.[bench]'": EXTRA,
    "pip install 'mnist-study[postgres]'": EXTRA,
    "pip install optuna-dashboard": EXTRA,
    "createdb studies": MACHINES,
    "mlflow server --host 0.0.0.0 --port 5000 --allowed-hosts 'runs:5000' --backend-store-uri "
    "sqlite:////srv/mlflow.db --artifacts-destination /srv/artifacts": MACHINES,
    f"python -m mnist_study +sweep=optuna hydra.sweeper.n_trials=200 {AT}": MACHINES,
    "python -m mnist_study +sweep=optuna engine=ray hydra.launcher.ray.init.address=auto "
    f"hydra.sweeper.workers=16 {AT}": CLUSTER,
    "python -m mnist_study +sweep=optuna engine=slurm hydra.sweeper.workers=32 "
    f"hydra.launcher.partition=cpu {AT}": CLUSTER,
    f"python -m mnist_study.study show optuna {DATABASE}": MACHINES,
    "mlflow ui": SERVER,
    "optuna-dashboard multirun/optuna/study.journal": SERVER,
}


def commands(readme: str) -> list[str]:
    """The commands of a README's sh blocks: comments left out, lines joined, `&&` split."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```$", (PROJECT / readme).read_text(), re.MULTILINE | re.DOTALL
    )
    lines = re.sub(r"(?m)\s+#.*$", "", "".join(blocks)).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.split(" && ")]
    return [" ".join(part.split()) for part in parts]


def test_every_command_is_run_or_has_a_reason():
    """A new command must be entered in one of the two tables; an old one leaves them."""
    found = {command for readme in READMES for command in commands(readme)}
    assert not RUNS.keys() & NOT_RUN.keys()
    assert found == RUNS.keys() | NOT_RUN.keys()


@pytest.mark.parametrize("readme", READMES)
def test_the_commands_work_in_their_order(readme, tmp_path):
    """One shell command after the other, in one folder: exit code 0, no traceback, no warning."""
    shutil.copytree(PROJECT / "mnist_study" / "data" / "embedded", tmp_path / "fashion")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {
        "PATH": path,
        "PYTHONPATH": str(PROJECT),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    for command in commands(readme):
        if command in NOT_RUN:
            continue
        done = subprocess.run(
            ["bash", "-c", f"{command} {RUNS[command]}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, command
        assert "Warning" not in done.stderr, command


@pytest.mark.parametrize("group", ["experiment", "sweep"])
def test_the_head_of_a_config_file_has_its_command(group):
    """The command that a file's head shows chooses this file, and composes."""
    for file in (CONF / group).glob("[!b]*.yaml"):
        words = re.search(r"^# python -m mnist_study (\S+)", file.read_text(), re.MULTILINE)
        assert words, file
        assert words[1].lstrip("+") == f"{group}={file.stem}"
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            compose("config", [words[1]], return_hydra_config=True)
