"""`python -m mnist_study.study list [STORAGE]` or `show NAME [STORAGE]`: studies and trials."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_study.study.champion import trial_counts
from mnist_study.tracking.store import without_passwords

if TYPE_CHECKING:
    import optuna


def main(words: Sequence[str]) -> int:
    """Print studies, or one study's trials; the exit code.

    STORAGE: a journal file or a database URL; without it, every journal below `multirun/`.
    """
    import optuna

    from hydra_plugins.hydra_optuna_study import best_table

    match list(words):
        case ["list", *storages] if len(storages) <= 1:
            wanted = None
        case ["show", wanted, *storages] if len(storages) <= 1:
            pass
        case _:
            usage = "list [STORAGE] | show NAME [STORAGE]"
            print(f"usage: python -m mnist_study.study {usage}", file=sys.stderr)
            return 2
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = refused = False
    for address in storages or sorted(map(str, Path("multirun").rglob("*.journal"))):
        try:
            studies, place = _studies_in(address)
        except SystemExit:  # damaged, or none, as it has said; the others are still worth a look
            refused = True
            continue
        for study in studies:
            if wanted in (None, study.study_name):
                counts = (f"{int(n)} {key[7:]}" for key, n in trial_counts(study).items() if n)
                print(f"{study.study_name}: {', '.join(counts) or 'no trial yet'}   {place}")
                if wanted:
                    print(best_table(study, rows=len(study.trials)))
                found = True
    if not found and not refused:
        named = f" {wanted}" if wanted else ""
        places = without_passwords(", ".join(storages)) or "multirun/"
        print(f"no study{named} in {places}", file=sys.stderr)
    return 0 if found and not refused else 2


def _studies_in(address: str) -> tuple[list[optuna.Study], str]:
    """The studies in a storage, and its name; nothing is created."""
    import optuna

    from hydra_plugins.hydra_optuna_study import find_storage

    location = find_storage(address, Path(), reading=True)
    if not location.has_studies:
        return [], location.public
    storage = location.open(reading=True)
    names = optuna.get_all_study_names(storage)
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    return studies, location.public


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
