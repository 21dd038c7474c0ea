"""`python -m mnist_study.study list [STORAGE]` or `show NAME [STORAGE]`: studies and trials."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_study.study.champion import trial_counts


def main(words: Sequence[str]) -> int:
    """Print studies, or one study's trials; the exit code.

    STORAGE: a journal file or a database URL; without it, every journal below `multirun/`.
    """
    import optuna

    from hydra_plugins.hydra_optuna_study import best_table, find_storage

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
    found = False
    for address in storages or sorted(map(str, Path("multirun").rglob("*.journal"))):
        location = find_storage(address, Path())
        storage = location.open()
        for name in optuna.get_all_study_names(storage):
            if wanted in (None, name):
                study = optuna.load_study(study_name=name, storage=storage)
                counts = (f"{int(n)} {key[7:]}" for key, n in trial_counts(study).items() if n)
                print(f"{name}: {', '.join(counts) or 'no trial yet'}   {location.public}")
                if wanted:
                    print(best_table(study, rows=len(study.trials)))
                found = True
    if not found:
        named = f" {wanted}" if wanted else ""
        print(f"no study{named} in {', '.join(storages) or 'multirun/'}", file=sys.stderr)
    return 0 if found else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
