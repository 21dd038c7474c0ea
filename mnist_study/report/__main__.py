"""`python -m mnist_study.report [STUDY] [URI]`: write a study's page again, without a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_study.config import ConfigError, TrackingConfig
from mnist_study.console import abort
from mnist_study.report.page import write_page
from mnist_study.report.runs import find_study
from mnist_study.tracking.store import check_store, database_path, store_uri


def main(words: Sequence[str]) -> int:
    """Write the page of STUDY, "report" by default, from the store at URI; the exit code."""
    if len(words) > 2 or any(word.startswith("-") for word in words):
        print("usage: python -m mnist_study.report [STUDY] [URI]", file=sys.stderr)
        return 2
    study = words[0] if words else "report"
    settings = TrackingConfig("mlflow", words[1] if len(words) > 1 else None, "mnist", None)
    uri = store_uri(settings.uri)
    try:
        check_store(uri)
    except ConfigError as error:
        abort(str(error).replace("tracking.uri", "URI", 1))
    if (database := database_path(uri)) and not database.exists():
        abort(f"URI must be a store with runs, there is no file {database}")
    run = find_study(settings, study)
    if run is None:
        print(f"STUDY must be a study in the store, got {study}", file=sys.stderr)
        return 2
    write_page(settings, run.info.run_id, study, Path("multirun") / study)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
