"""A task with a structured config: an enum, a path, bytes, and a key that must be given."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


class Colour(Enum):
    red = 1
    blue = 2


@dataclass
class Config:
    defaults: list[Any] = field(
        default_factory=lambda: ["_self_", {"override hydra/sweeper": "optuna_study"}]
    )
    x: float = 1.0
    need: int = MISSING
    colour: Colour = Colour.red
    where: Path = Path("here")
    raw: bytes = b"\x00raw"
    tones: dict[Colour, list[Path]] = field(default_factory=lambda: {Colour.red: [Path("a")]})


ConfigStore.instance().store(name="config", node=Config)
VERSION_BASE = {"version_base": None} if hydra.__version__ < "1.4" else {}


@hydra.main(**VERSION_BASE, config_path=None, config_name="config")
def main(cfg):
    return (cfg.x - 1) ** 2


if __name__ == "__main__":
    main()
