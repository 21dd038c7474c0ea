"""`python -m mnist_study.data export_png ROOT`: MNIST as a tree of PNG files."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_study.data import idx_files, png_tree
from mnist_study.data.sources import embedded_files


def main(arguments: Sequence[str]) -> int:
    """Export MNIST (`export_png ROOT`). Returns the exit code, 2 for a user's mistake."""
    match arguments:
        case ["export_png", root] if not root.startswith("-"):
            pass
        case _:
            print("usage: python -m mnist_study.data export_png ROOT", file=sys.stderr)
            return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        table = idx_files.read(embedded_files())
        png_tree.write(Path(root).resolve(), table)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130  # as shells report Ctrl-C
    print(f"wrote {len(table.labels):,} images; train on them with data=png data.root={root}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
