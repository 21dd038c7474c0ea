"""Trial configs at a fraction of the price: Hydra composes once per choice of config groups.

A value override never changes which files are composed, so it is applied to a copy of what Hydra
composed from the rest, by Hydra's own function; a test compares the result with a full composition.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from hydra._internal import config_loader_impl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

# Hydra 1.4 resolves hydra.job.override_dirname when it is read, 1.3 writes it down
_dirname = getattr(config_loader_impl, "get_overrides_dirname", None)


class Composer:
    """Composes the config of one point after another of a study."""

    def __init__(self, loader: ConfigLoader, master: DictConfig, fixed: Sequence[str]) -> None:
        self.loader, self.master, self.fixed = loader, master, list(fixed)
        self.parser = OverridesParser.create(config_loader=loader)
        self.parsed = self.parser.parse_overrides(self.fixed)
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.groups: dict[str, bool] = {}

    def compose(self, sampled: Sequence[str]) -> DictConfig:
        """What `load_sweep_config` gives for the fixed and the sampled overrides."""
        parsed = self.parser.parse_overrides(list(sampled))
        pairs = list(zip(sampled, parsed, strict=True))
        groups = tuple(line for line, override in pairs if self._is_group(override))
        if groups not in self.composed:
            fixed = [*self.fixed, *groups]
            self.composed[groups] = self.loader.load_sweep_config(self.master, fixed)
        config = copy.deepcopy(self.composed[groups])
        OmegaConf.copy_cache(from_config=self.master, to_config=config)
        values = [override for line, override in pairs if line not in groups]
        apply = config_loader_impl.ConfigLoaderImpl._apply_overrides_to_config  # noqa: SLF001  # see top
        apply(values, config)
        self._note(config, [*self.fixed, *sampled], [*self.parsed, *parsed])
        return config

    def _is_group(self, override: Override) -> bool:
        key = override.key_or_group
        if key not in self.groups:
            self.groups[key] = bool(self.loader.get_group_options(key))
        return self.groups[key] or override.package is not None

    def _note(self, config: DictConfig, lines: list[str], overrides: list[Override]) -> None:
        """Write the overrides down where Hydra does."""
        job, note = config.hydra.job, config.hydra.overrides
        shape = job.config.override_dirname
        with read_write(note), read_write(job), open_dict(job):
            note.task = lines
            if _dirname:
                job.override_dirname = _dirname(
                    overrides=[o for o in overrides if not o.is_hydra_override()],
                    kv_sep=shape.kv_sep,
                    item_sep=shape.item_sep,
                    exclude_keys=shape.exclude_keys,
                )
