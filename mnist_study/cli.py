"""Checks at the door: of the command line before Hydra composes it, of a run before it begins.

A word that cannot be gets one sentence instead of Hydra's ten lines.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.hydra_optuna_study import hide_passwords
from mnist_study.config import CONF
from mnist_study.console import abort, closest

# Hydra 1.3 warns where version_base is missing, 1.4 where it is given.
VERSION_BASE: dict[str, Any] = {"version_base": None} if hydra.__version__ < "1.4" else {}
LAUNCHERS = {  # engine -> the package with its launcher, and our extra that brings it
    "ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "submitit": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
}
MODES = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--run", "-r"}
MODES |= {"--multirun", "-m", "--shell-completion", "-sc"}
VALUED = {"--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--package", "-p"}
OPTIONS = MODES | VALUED | {"--resolve", "--version", "--experimental-rerun"}
NEEDED = {"data", "model", "loss", "optimizer", "schedule", "training", "tracking"}
NOISE = ("full_key", "object_type", "reference_type", "See https", "Set the env", "provider=")


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
        if re.fullmatch("engine|sampler|pruner", group) and not is_search(words):
            return f"{word} is for a search, and +sweep=... is missing; try +sweep=optuna"
        if re.match("--?[a-z]", word) and group not in OPTIONS:
            return f"there is no option {group}; a key is set as key=value, without dashes"
    own = not any(re.match("--config-dir|-cd|hydra.searchpath", word) for word in words)
    return next(filter(None, (_refusal(word, words) for word in words if own)), None)


def _refusal(word: str, words: Sequence[str]) -> str | None:
    """Why a group has no such option, or a key that is added outside of every section is unread."""
    name = word.lstrip("+~").partition("=")[0]
    if word.startswith("~") and name in NEEDED:
        return f"{word} takes away what every run needs; another is chosen by {name}=..."
    if name in _groups():
        return _suggestion(word, words)
    known = {"training", "study", "report", "hydra", *_groups()}
    added = word.startswith("+") and "/" not in name and name.partition(".")[0] not in known
    return _suggestion(word, words) if added else None


def explain(error: Exception, words: Sequence[str]) -> str | None:
    """An error of Hydra or of the operating system as one sentence; None for any other one."""
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return _of_the_system(error)
    for word in words:
        key = re.split("[=@]", word.lstrip("+~"), maxsplit=1)[0]
        if key in str(error) and (sentence := _suggestion(word, words)):
            return sentence
    return _unparsed(words) or _one_line(error)


def _suggestion(word: str, words: Sequence[str]) -> str | None:
    """What is wrong with an override whose group, option or key does not exist."""
    key, _, value = word.partition("=")
    name = key.lstrip("+~")
    sign = key.removesuffix(name)
    if name in _groups():
        options = sorted(path.stem for path in (CONF / name).glob("*.yaml"))
        meant = closest(value, options)
        if value in options or not re.fullmatch(r"[\w.+-]*", value):
            return None
        listed = f"one of {', '.join(options)}" if len(options) <= 12 else f"a file of conf/{name}"
        hint = f"; did you mean {sign}{name}={meant}?" if meant else ""
        return f"{name} must be {listed}, got {value}{hint}"
    known = {*_known_keys(words), *_groups()}
    if name in known:
        return None
    meant = closest(name, known)
    if meant is None:
        return (
            None if sign else f"{name} is no key or group; all keys: --cfg job, all groups: --help"
        )
    typed = f"{meant}={value}" if value else meant
    return f"{name} is no key or group of the configuration; did you mean {typed}?"


def _of_the_system(error: Exception) -> str | None:
    """A file or folder that cannot be written; a full disk is no mistake of the command."""
    if not isinstance(error, OSError) or error.filename is None or error.errno == errno.ENOSPC:
        return None
    return f"{error.filename} must be a place that can be written: {error.strerror}"


def _groups() -> set[str]:
    return {path.name for path in CONF.iterdir() if path.is_dir()}


def _known_keys(words: Sequence[str]) -> list[str]:
    """The dotted keys of the configuration that the words choose, as far as they are right."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    chosen = []
    for word in words:
        group, _, option = word.lstrip("+").partition("=")
        if group in _groups() and (CONF / group / f"{option}.yaml").is_file():
            chosen.append(word)
    GlobalHydra.instance().clear()  # of the command that has failed
    with initialize_config_dir(str(CONF), **VERSION_BASE):
        try:
            config = compose("config", chosen, return_hydra_config=True)
        except HydraException:  # two of one group
            config = compose("config", return_hydra_config=True)
    return list(_keys(OmegaConf.to_container(config, resolve=False)))


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")


def _unparsed(words: Sequence[str]) -> str | None:
    """The first word that is not in Hydra's grammar; Hydra itself does not always name it."""
    for word in words:
        if word.startswith("-"):
            continue
        try:
            OverridesParser.create().parse_override(word)
        except HydraException:
            rule = "must be key=value in Hydra's grammar; quote a value with special characters"
            return f"{word} {rule}: key='\"value\"'"
    return None


def _one_line(error: Exception) -> str:
    """Hydra's or OmegaConf's message without the advice that is appended to it."""
    cause = error.__cause__
    text = f"{error}\n{cause}" if isinstance(cause, OmegaConfBaseException) else str(error)
    lines = dict.fromkeys(line.strip() for line in text.splitlines())
    return " ".join(line for line in lines if line and not line.startswith(NOISE))


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
