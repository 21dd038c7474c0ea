"""The study of `+sweep=report` in MLflow: it has no champion, and ends with a page."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from mnist_study.config import ConfigError
from mnist_study.console import abort
from mnist_study.report.page import PAGE, write_page
from mnist_study.run import scaled
from mnist_study.study.callback import SUMMED_UP, StudyTracking
from mnist_study.study.runs import PARENT

if TYPE_CHECKING:
    import optuna

_log = logging.getLogger(__name__)


class ReportTracking(StudyTracking):
    """The sweeper's callback for `+sweep=report`."""

    def check(self, config: DictConfig) -> None:
        """Check the scale too."""
        try:
            scaled(config)
        except ConfigError as error:
            abort(str(error))
        super().check(config)

    def study_ended(self, study: optuna.Study, interrupted: bool) -> None:
        """Sum up; write the page from the finished runs, unless it is up to date."""
        before = study.user_attrs.get(SUMMED_UP)
        super().study_ended(study, interrupted)
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        page = folder / PAGE
        if self.settings is None:
            print("no page: the runs are not tracked (tracking=none)")
        elif not interrupted and study.user_attrs.get(SUMMED_UP) == before and page.exists():
            print(f"the report's page: {page}")
        else:
            try:
                write_page(self.settings, study.user_attrs[PARENT], study.study_name, folder)
            except Exception as error:  # noqa: BLE001 - the store may be away; the runs are safe
                _log.warning(
                    "no page (%s); write it later with: python -m mnist_study.report %s URI",
                    str(error).partition("\n")[0],
                    study.study_name,
                )

    def follow_up(self, study: optuna.Study) -> None:
        """Nothing: a reproduction has no champion."""
