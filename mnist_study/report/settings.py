"""The settings of the report's experiments and controls, as their runs were composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mnist_study.report.page import Table
from mnist_study.report.runs import Cell, ReportRuns, TrackedRun

Params = Mapping[str, str]
_PIXELS, _CLASSES = "784", "10"


def settings_table(runs: ReportRuns, cells: Sequence[Cell]) -> Table:
    """What distinguishes the experiments, one row each; from the first run of any outcome."""
    rows: dict[str, list[str]] = {}
    for cell in cells:
        run = next((r for r in [*runs[cell].values(), *runs.others] if r.cell == cell), None)
        if run and run.params and cell.experiment not in rows:
            rows[cell.experiment] = [f"`{cell.experiment}`", *_row(run)]
    head = [
        "experiment",
        "layers",
        "first weights",
        "batch",
        "rate",
        "epochs",
        "curves",
        "test set",
    ]
    return Table(head, list(rows.values()))


def _row(run: TrackedRun) -> list[str]:
    get = run.params.get
    hidden = [get("model.width", "?")] * (int(get("model.depth", "1")) - 1)
    start = "He" if get("model.init") == "he" else f"std {get('model.init_std', '?')}"
    batch, drawn = get("training.batch_size", "?"), get("training.sampling")
    every = get("training.eval_every", "?")
    return [
        "-".join([_PIXELS, *hidden, _CLASSES]),
        start,
        batch + (", drawn with replacement" if drawn == "replacement" else ""),
        _rate(run.params),
        get("training.epochs", "?"),
        "every epoch" if every == "epoch" else f"every {every} iterations",
        "watched" if get("training.test") == "curve" else str(get("training.test")),
    ]


def _rate(params: Params) -> str:
    rate = params.get("optimizer.lr", "?")
    if params.get("schedule") != "linear":
        return f"{rate}, {params.get('schedule')}"
    end = f"{100 * float(params.get('schedule.end_factor', '0')):g} %"
    if params.get("schedule.restart") != "epoch":
        return f"{rate}, falling to {end} once over the run"
    if "schedule.tau" not in params:  # an epoch is one iteration
        return f"{rate}, restarting with every iteration"
    return f"{rate}, falling to {end} in {params['schedule.tau']} iterations of every epoch"
