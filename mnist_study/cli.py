"""Checks at the door: of the command line before Hydra composes it, of a run before it begins."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from hydra_plugins.hydra_optuna_study import hide_passwords
from mnist_study.config import CONF
from mnist_study.console import abort

LAUNCHERS = {  # engine -> the package with its launcher, and our extra that brings it
    "ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "submitit": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
}
NO_OPTION = r"(?i)null|true|false|\{.*\}|[-+]?\.?\d[\d._e+-]*|"  # Hydra has a traceback for those
MODES = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--run", "-r"}
MODES |= {"--multirun", "-m", "--shell-completion", "-sc"}


def is_search(words: Sequence[str]) -> bool:
    """Whether the command asks for a search."""
    return any(word.startswith("+sweep=") for word in words)


def needs_multirun(words: Sequence[str]) -> bool:
    """Whether to add `--multirun`: Hydra 1.4 ignores the `hydra.mode` of a sweep's file."""
    return is_search(words) and not MODES & {word.partition("=")[0] for word in words}


def validate(words: Sequence[str]) -> str | None:
    """Return what is wrong with the command and what to type instead; None if nothing is."""
    for word in words:
        group, _, option = word.partition("=")
        if group == "engine" and option in LAUNCHERS:
            package, extra = LAUNCHERS[option]
            if find_spec(package) is None:
                return f"engine={option} needs one more package: pip install 'mnist-study[{extra}]'"
        if (folder := CONF / group.lstrip("+")).is_dir() and re.fullmatch(NO_OPTION, option):
            names = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
            return f"{group} must name one of {names}, got {word}"
        if re.fullmatch("engine|sampler|pruner", group) and not is_search(words):
            return f"{word} is for a search, and +sweep=... is missing; try +sweep=optuna"
    return None


class Door(Callback):
    """What Hydra calls before a run's first file is written (`hydra.callbacks`)."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Hide passwords, and make the run's folder, or end with one sentence."""
        hide_passwords(config)
        folder, reason = Path(str(config.hydra.run.dir)), "no permission to write in it"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = str(error.strerror)
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            abort(f"hydra.run.dir must be a folder to write to, got {folder}: {reason}")
