"""What a program may use: its trial, deferred work, a callback around a study, hidden passwords.

It imports no Optuna, so that a run without a study does not pay for it.
"""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING, Any, get_type_hints

from omegaconf import DictConfig, OmegaConf, read_write

if TYPE_CHECKING:
    from optuna import Study, Trial

running: ContextVar[Trial | None] = ContextVar("running_trial", default=None)
_deferred: ContextVar[dict[Callable[[], None], None] | None] = ContextVar("deferred", default=None)


def current_trial() -> Trial | None:
    """The trial that this Hydra job runs, or None outside of a study."""
    return running.get()


def defer(wait: Callable[[], None]) -> None:
    """Let the next trial begin while some work of this one, an upload say, goes on.

    Args:
        wait: returns when the work is done, after a bounded time. It is called before the worker
            ends, once however many trials defer it; outside of a worker, at once.
    """
    waits = _deferred.get()
    if waits is None:
        wait()
    else:
        waits[wait] = None


@contextmanager
def deferring() -> Iterator[None]:
    """Within, `defer` postpones work; on exit it is waited for."""
    waits: dict[Callable[[], None], None] = {}
    token = _deferred.set(waits)
    try:
        yield
    finally:
        _deferred.reset(token)
        for wait in waits:
            wait()


@dataclass(frozen=True)
class FollowUp:
    """A study to run after this one: `<study>-<suffix>`, in the folder `<suffix>/` of the study."""

    suffix: str
    params: Mapping[str, Any]  # Hydra's grammar, as in `hydra.sweeper.params`
    n_trials: int | None  # null: the whole grid
    overrides: Sequence[str] = ()  # fixed ones, on top of those of the study before
    sampler: Mapping[str, Any] | None = None
    pruner: Mapping[str, Any] | None = None
    metric: str | Sequence[str] | None = None  # null: as before
    direction: str | Sequence[str] | None = None  # null: as before


class StudyCallback:
    """No-op defaults; override what you need, and name the class by `hydra.sweeper.callback`.

    It lives in the controller. Every method may be called again for the same study, by a later run
    or on another machine, also when the study is complete. `study_started` and `study_ended` run
    in one controller at a time.
    """

    def check(self, config: DictConfig) -> None:
        """Before anything is written; SystemExit(2) rejects a mistake in `config`."""

    def check_point(self, config: DictConfig) -> None:
        """Like `check`, for one point of the space as its trial would be composed."""

    def study_started(self, study: Study, config: DictConfig) -> None:
        """Before workers are launched, after the trials of dead workers are failed."""

    def trials_changed(self, study: Study) -> None:
        """A trial began or ended; called by the progress thread, at most once a second."""

    def study_ended(self, study: Study, interrupted: bool) -> None:
        """All workers of this controller have ended; also after Ctrl-C and errors."""

    def follow_up(self, study: Study) -> FollowUp | None:
        """What to run next; called when all trials of `study` are finished."""


def instantiate(node: Mapping[str, Any], kind: type = object, /, **extra: Any) -> Any:
    """Call the node's `_target_` with its other keys and `extra`, by `hydra.utils.instantiate`.

    Nested nodes come first; containers arrive as plain lists and dicts. On Hydra 1.4 an execution
    whitelist that the application has set applies.

    Args:
        kind: what the target must make. It is checked before anything is called.

    Raises: what the target raised, without Hydra's wrapper; ImportError if there is no target;
        TypeError if it makes something else.
    """
    with warnings.catch_warnings():
        # Hydra 1.4 warns where an application sets no whitelist; that is the application's choice
        warnings.filterwarnings("ignore", r"hydra\.utils\.instantiate\(\) resolved", UserWarning)
        if kind is not object:
            _check_targets(node, kind)
        target = _partial(node)
        if not node.get("_partial_"):
            return target(**extra)
        return functools.partial(target, **extra) if extra else target


def _partial(node: Mapping[str, Any]) -> functools.partial[Any]:
    """The target with its keys, not yet called. Hydra looks it up, by its own whitelist."""
    from hydra import utils
    from hydra.errors import InstantiationException

    try:
        made: functools.partial[Any] = utils.instantiate(node, _partial_=True, _convert_="all")
    except InstantiationException as error:
        raise error.__cause__ or error from None
    return made


def _check_targets(node: Mapping[str, Any], kind: type) -> None:
    """Raise TypeError unless the target makes a `kind`, and nested ones are of its package."""
    outer = _partial({"_target_": node["_target_"]}).func
    try:
        made = outer if isinstance(outer, type) else get_type_hints(outer).get("return")
    except (TypeError, NameError):  # a builtin; an annotation that only a type checker imports
        made = None
    if not (isinstance(made, type) and issubclass(made, kind)):
        raise TypeError(
            f"a subclass of {kind.__name__}, or a function annotated to return one, must be given, "
            f"got {node['_target_']}"
        )
    packages = {package_of(kind), package_of(outer)}
    for name in _nested_targets([value for key, value in node.items() if key != "_target_"]):
        if package_of(_partial({"_target_": name}).func) not in packages:
            allowed = " or ".join(sorted(packages))
            raise TypeError(f"a nested _target_ must come from {allowed}, got {name}")


def package_of(target: Any) -> str:
    return str(getattr(target, "__module__", "")).partition(".")[0]


def _nested_targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield value["_target_"]
        yield from _nested_targets(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _nested_targets(item)


# user:PASSWORD@ up to the last @, since people forget to write one of their password as %40; or
# &password=PASSWORD. A reference to an environment variable is no secret, and stays.
_PASSWORD = re.compile(
    r"""((?<=://)(?:\$\{[^}]*\}|[^:/$\s'"])*:)((?:(?!\$\{|,\w+://)[^\s'"])+)(?=@)"""
    r"""|([?&]password=)((?:(?!\$\{)[^&\s'"])+)"""
)


def without_passwords(text: str) -> str:
    """`text` with *** for the password of every address in it."""
    return _PASSWORD.sub(lambda found: f"{found[1] or found[3]}***", text)


def hide_password(override: str) -> str:
    """An override `key=value` whose value refers to its password: see `hide_passwords`."""
    key = re.split("[=@]", override)[0]
    return _hidden(override, key)


def hide_passwords(config: DictConfig) -> None:
    """Move every password of an address into an environment variable, and leave a reference to it.

    What Hydra and launchers write down, and send to workers, has the reference. Processes that are
    started here inherit the variable; on another machine it must be set.
    """
    _hide_below(config, OmegaConf.to_container(config, resolve=False), "")


def _hide_below(node: Any, plain: Any, prefix: str) -> None:
    for key, value in plain.items() if isinstance(plain, dict) else enumerate(plain):
        if isinstance(value, dict | list):
            _hide_below(node[key], value, f"{prefix}{key}_")
        elif isinstance(value, str) and _PASSWORD.search(value):
            overrides = prefix.startswith("hydra_overrides_")
            with read_write(node):
                node[key] = hide_password(value) if overrides else _hidden(value, f"{prefix}{key}")


def _hidden(text: str, key: str) -> str:
    name = re.sub(r"\W+", "_", key).strip("_").upper() + "_PASSWORD"
    names = chain([name], (f"{name}_{number}" for number in count(2)))

    def refer(found: re.Match[str]) -> str:
        variable = next(names)
        os.environ[variable] = found[2] or found[4]
        return f"{found[1] or found[3]}${{oc.env:{variable}}}"

    return _PASSWORD.sub(refer, text)
