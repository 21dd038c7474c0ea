"""The command `python -m mnist_study`: one run, or a search with `+sweep=...`."""

import sys

import hydra
from omegaconf import DictConfig

from hydra_plugins.hydra_optuna_study import hide_password
from mnist_study.cli import needs_multirun, validate
from mnist_study.config import CONF
from mnist_study.console import abort
from mnist_study.job import job

# Hydra 1.3 warns where version_base is missing, 1.4 where it is given.
VERSION_BASE = {"version_base": None} if hydra.__version__ < "1.4" else {}


@hydra.main(**VERSION_BASE, config_path=str(CONF), config_name="config")
def main(config: DictConfig) -> dict[str, float]:
    """Run what the command line composes."""
    return job(config)


if __name__ == "__main__":
    sys.argv[1:] = map(hide_password, sys.argv[1:])
    if sentence := validate(sys.argv[1:]):
        abort(sentence)
    if needs_multirun(sys.argv):
        sys.argv.append("--multirun")
    main()
