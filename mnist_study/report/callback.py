"""The report, reproduced and answered: one page from the runs of a study.

`python -m mnist_study.report [STUDY] [URI]` writes the page again from the store, without a run.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from mnist_study.config import ConfigError, TrackingConfig
from mnist_study.report.contents import TARGETS, contents
from mnist_study.report.page import markdown, page_html
from mnist_study.report.pictures import Drawing, draw_causes, draw_figures
from mnist_study.report.runs import find_study, read_runs
from mnist_study.run import scaled
from mnist_study.study.callback import SUMMED_UP, StudyTracking
from mnist_study.study.runs import PARENT
from mnist_study.tracking.client import log_to_run

if TYPE_CHECKING:
    import optuna

PAGE = "report.html"
SEARCHES = (*TARGETS, "softmax_report")  # studies whose champions the page quotes


_log = logging.getLogger(__name__)


class ReportRun(StudyTracking):
    """The sweeper's observer for `+sweep=report`: a study without a champion, with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.folder: Path | None = None  # of the page, once the study may start

    def check(self, config: DictConfig) -> None:
        """Check the scale too, and remember where the page goes."""
        try:
            scaled(config)
        except ConfigError as error:
            print(f"mnist_study: {error}", file=sys.stderr)
            raise SystemExit(2) from error
        super().check(config)
        self.folder = Path(str(config.hydra.sweep.dir)).absolute()

    def study_ended(self, study: optuna.Study, interrupted: bool) -> None:
        """Sum up, and write the page from whatever there is, unless nothing has happened since."""
        if self.folder is None:  # refused
            return
        before = study.user_attrs.get(SUMMED_UP)
        super().study_ended(study, interrupted)
        page = self.folder / PAGE
        if self.settings is None:
            print("no page: the runs are not tracked (tracking=none)")
        elif not interrupted and study.user_attrs.get(SUMMED_UP) == before and page.exists():
            print(f"the report's page: {page}")
        else:
            try:
                write_page(self.settings, study.user_attrs[PARENT], study.study_name, self.folder)
            except Exception as error:  # noqa: BLE001 - the store may be away; the runs are safe
                _log.warning(
                    "no page (%s); write it later with: python -m mnist_study.report %s URI",
                    str(error).partition("\n")[0],
                    study.study_name,
                )

    def follow_up(self, study: optuna.Study) -> None:
        """Nothing: a reproduction has no champion."""


def write_page(settings: TrackingConfig, parent: str, study: str, folder: Path) -> None:
    """Write REPORT.md, report.html and the figures, and log them to `parent`, the study's run."""
    runs = read_runs(settings, parent, SEARCHES)
    drawings = [*draw_figures(runs), *draw_causes(runs)]
    blocks = contents(runs, study, drawings)
    pictures = {drawing.name: _png(drawing) for drawing in drawings}
    files: dict[str, str | bytes] = {
        "report.md": markdown(blocks),
        PAGE: page_html(blocks, pictures),
        **pictures,
    }
    log_to_run(settings, parent, files=files)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        local = folder / ("REPORT.md" if name == "report.md" else name)
        local.write_bytes(content.encode() if isinstance(content, str) else content)
    print(f"the report's page: {folder / PAGE}, also on the MLflow run of the study {study}")


def _png(drawing: Drawing) -> bytes:
    drawn = io.BytesIO()
    drawing.figure.savefig(drawn, format="png")
    return drawn.getvalue()


def main(words: Sequence[str]) -> int:
    """Write a study's page again; the exit code."""
    if len(words) > 2 or any(word.startswith("-") for word in words):
        print("usage: python -m mnist_study.report [STUDY] [URI]", file=sys.stderr)
        return 2
    study = words[0] if words else "report"
    settings = TrackingConfig("mlflow", words[1] if len(words) > 1 else None, "mnist", None)
    parent = find_study(settings, study)
    if parent is None:
        print(f"STUDY must be a study in the store, got {study}", file=sys.stderr)
        return 2
    write_page(settings, parent, study, Path("multirun") / study)
    return 0
