"""The composed configuration, checked at the door: types, bounds, one sentence for a mistake."""

from __future__ import annotations

import inspect
import pkgutil
import posixpath
import re
import sys
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from mnist_study.console import did_you_mean

_PACKAGE = Path(__file__).parent
# `conf` lies inside the package in a wheel and beside it in a checkout.
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())


# Tags of a run that the product writes itself, and finds it by.
OUR_TAGS = {"state", "failure", "reason", "kind", "study", "study.id", "optuna.trial_number"}
OUR_TAGS |= {"curves", "weights.scale", "git.dirty", "hydra.output_dir"}


class ConfigError(Exception):
    """A user's mistake; the text is one sentence that names the key or the file."""


@dataclass(frozen=True)
class TrainingConfig:
    """Section `training`; conf/config.yaml explains each key."""

    epochs: int
    batch_size: Union[int, str]  # noqa: UP007 - omegaconf 2.3 reads unions in this spelling
    sampling: str
    eval_every: Union[int, str]  # noqa: UP007
    test: str
    gradient: str
    dtype: str
    seed: int
    threads: Union[int, str]  # noqa: UP007

    def __post_init__(self) -> None:
        _at_least(self, epochs=1, seed=0)
        _count_or(self, batch_size="all", eval_every="epoch", threads="auto")
        _one_of(self, sampling=("shuffle", "replacement"), test=("end", "curve", "never"))
        _one_of(self, gradient=("exact", "report"), dtype=("float32", "float64"))


@dataclass(frozen=True)
class TrackingConfig:
    """Section `tracking`."""

    backend: str
    uri: str | None
    experiment: str
    run_name: str | None
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """What no store can ever take is refused here, before a training: MLflow's own bounds."""
        _one_of(self, backend=("mlflow", "none"))
        if self.uri is not None and not self.uri.strip():
            raise ValueError("uri must be an address or null, got uri=''")
        _text("experiment", self.experiment, 256)
        if ".." in self.experiment.split("/"):
            raise ValueError(f"experiment must not lead out of its folder, got {self.experiment}")
        if self.run_name is not None:
            _text("run_name", self.run_name, 250)
        for key, value in self.tags.items():
            _tag(key, value)


@dataclass(frozen=True)
class StudyConfig:
    """Section `study`."""

    champion_seeds: int

    def __post_init__(self) -> None:
        _at_least(self, champion_seeds=0)


Section = TypeVar("Section", TrainingConfig, TrackingConfig, StudyConfig)


def section(config: DictConfig, schema: type[Section]) -> Section:
    """The section of `config` that `schema` describes, as a checked frozen value.

    Raises: ConfigError that names the key.
    """
    name = schema.__name__.removesuffix("Config").lower()
    node = _node(config, name)
    known = {f"{name}.{key.name}" for key in fields(schema)}
    for key in map(str, node):
        if (full := f"{name}.{key}") not in known:
            raise ConfigError(f"{full} is no key of {name}{did_you_mean(full, known)}")
    try:
        return cast(Section, OmegaConf.to_object(OmegaConf.merge(schema, node)))
    except OmegaConfBaseException as error:
        key = f"{name}.{error.full_key}" if error.full_key else name
        if isinstance(error, MissingMandatoryValue):
            raise ConfigError(f"{key} must be given, it has no default") from error
        raise ConfigError(f"{key}: {str(error.msg).splitlines()[0]}") from error
    except ValueError as error:
        raise ConfigError(f"{name}.{error}") from error


def build(config: DictConfig, group: str, *args: object, **given: object) -> Any:
    """Call the `_target_` of a config group with its keys, and with what only the run knows.

    Raises: ConfigError that names the group's key: for a target that cannot be found, a value of
        the wrong type, or whatever ValueError or OSError the target itself refuses it with.
    """
    node = _node(config, group)
    if "_target_" not in node:
        raise ConfigError(f"{group}._target_ must be given; {group}=... chooses a file that has it")
    for name in re.findall(r"_target_: ([\w.]+)", OmegaConf.to_yaml(node)):
        if name.partition(".")[0] in sys.stdlib_module_names:
            raise ConfigError(f"{group}: no _target_ may be of Python's own library, got {name}")
    name = str(node["_target_"])
    try:
        target = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{group}._target_ must name what can be imported, got {name}") from error
    keys = _built_keys(group, node)
    _check_keys(group, target, keys)
    try:
        inspect.signature(target).bind(*args, **keys, **given)
    except TypeError as error:
        raise ConfigError(f"{group}: {name}: {error}") from error
    try:
        return target(*args, **keys, **given)
    except MemoryError as error:
        raise ConfigError(f"{group}: {error or 'too little memory'}") from error
    except (ValueError, OSError) as error:
        raise ConfigError(_in_group(group, str(error), keys)) from error


def _node(config: DictConfig, name: str) -> DictConfig:
    """A section or group, which the command line can also take away or replace by a value."""
    node = config.get(name)
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{name} must be a section with keys of its own, got {name}={node}")
    if missing := OmegaConf.missing_keys(node):
        raise ConfigError(f"{min(missing)} must be given, it has no default")
    return node


def _built_keys(group: str, node: DictConfig) -> dict[str, Any]:
    """The keys of a node but its target, as plain values; nodes among them are instantiated."""
    from hydra import utils
    from hydra.errors import InstantiationException

    try:
        with warnings.catch_warnings():  # Hydra 1.4 asks for a whitelist: any class may be named
            warnings.filterwarnings(
                "ignore", r"hydra\.utils\.instantiate\(\) resolved", UserWarning
            )
            partial = utils.instantiate(node, _partial_=True, _convert_="all")
    except InstantiationException as error:  # of a nested target
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(f"{group}: {reason}") from error
    return dict(partial.keywords)


def _in_group(group: str, message: str, keys: Mapping[str, object]) -> str:
    """Name the full key: "lr > 0 must hold" is about `optimizer.lr` if the group has that key."""
    for word in message.split()[:3]:
        if word.rstrip(":") in keys:
            return message.replace(word, f"{group}.{word}", 1)
    return f"{group}: {message}"


def _check_keys(group: str, target: Callable[..., Any], keys: Mapping[str, Any]) -> None:
    """Refuse a key that the target does not take, and a value of another type."""
    taken = inspect.signature(target).parameters
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in taken.values()):
        for name in keys.keys() - taken.keys():
            hint = did_you_mean(f"{group}.{name}", [f"{group}.{known}" for known in taken])
            facts = f"{target.__module__}.{target.__qualname__}"
            raise ConfigError(f"{group}.{name} is no key of {facts}{hint}")
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for name, value in keys.items():
        if name in hints and not _accepts(value, hints[name]):
            expected = getattr(hints[name], "__name__", None) or str(hints[name])
            raise ConfigError(f"{group}.{name} must be of type {expected}, got {value!r}")


def _accepts(value: object, hint: Any) -> bool:
    """Whether a plain config value fits a type hint; what YAML cannot express passes."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_accepts(value, option) for option in get_args(hint))
    if origin is Literal:
        return isinstance(value, str)  # which names there are, the target itself says
    if origin is Sequence or origin is list:
        return isinstance(value, list) and all(_accepts(v, get_args(hint)[0]) for v in value)
    if isinstance(value, bool) and hint in (int, float):
        return False
    if hint is float:
        return isinstance(value, int | float)
    return isinstance(value, hint) if hint in (int, str, bool, types.NoneType) else True


def _at_least(settings: object, **bounds: int) -> None:
    for name, bound in bounds.items():
        if (value := getattr(settings, name)) < bound:
            raise ValueError(f"{name} >= {bound} must hold, got {name}={value}")


def _count_or(settings: object, **words: str) -> None:
    for name, word in words.items():
        value = getattr(settings, name)
        if value != word and not (isinstance(value, int) and value >= 1):
            raise ValueError(f"{name} must be an integer >= 1 or `{word}`, got {name}={value}")


def _text(name: str, value: str, longest: int) -> None:
    if not value.strip() or not value.isprintable() or len(value) > longest:
        rule = f"{name} must be one line of 1 to {longest} characters"
        raise ValueError(f"{rule}, got {value[:40]!r}, {len(value)} characters")


def _tag(key: object, value: object) -> None:
    """A tag as MLflow takes it, which does not stand in the way of a tag of ours."""
    name = f"tags.{key}"
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {value}")  # noqa: TRY004 - as the others
    if not re.fullmatch(r"[\w\-. :/]{1,250}", str(key)) or posixpath.normpath(str(key)) != key:
        raise ValueError(f"{name[:60]} must be a name of letters, digits and _-. :/, at most 250")
    if str(key).startswith(("mlflow.", "../", "/")) or key in OUR_TAGS:
        raise ValueError(
            f"{name} must be another name, mnist_study or MLflow itself writes this one"
        )
    if len(value) > 8000 or "\0" in value or any(0xD800 <= ord(c) < 0xE000 for c in value):
        raise ValueError(f"{name} must be a text of at most 8000 characters, got {len(value)}")


def _one_of(settings: object, **choices: Sequence[str]) -> None:
    for name, allowed in choices.items():
        if (value := getattr(settings, name)) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {name}={value}")
