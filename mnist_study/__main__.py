"""The command `python -m mnist_study`: one run, or a search with `+sweep=...`."""

import os
import sys

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.hydra_optuna_study import hide_password
from mnist_study.cli import VERSION_BASE, explain, needs_multirun, validate
from mnist_study.config import CONF
from mnist_study.console import abort
from mnist_study.job import job


@hydra.main(**VERSION_BASE, config_path=str(CONF), config_name="config")
def main(config: DictConfig) -> dict[str, float]:
    """Run what the command line composes."""
    return job(config)


def command() -> None:
    """Run the command line; a mistake in it ends with one sentence and exit code 2."""
    sys.argv[1:] = words = [hide_password(word) for word in sys.argv[1:]]
    if sentence := validate(words):
        abort(sentence)
    if needs_multirun(words):
        sys.argv.append("--multirun")
    asked = os.environ.setdefault("HYDRA_FULL_ERROR", "") not in ("", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    try:
        main()
    except (HydraException, OmegaConfBaseException, OSError) as error:
        if not asked and (sentence := explain(error, words)):
            abort(sentence)
        raise


if __name__ == "__main__":
    command()
