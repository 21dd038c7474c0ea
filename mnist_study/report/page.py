"""The report's page: the data of its template, and the files that are written from it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from mnist_study.config import TrackingConfig
from mnist_study.report import networks, softmax
from mnist_study.report.evidence import judge, percent
from mnist_study.report.measures import DEFINITIONS
from mnist_study.report.pictures import Drawing, draw_causes, draw_figures
from mnist_study.report.runs import EXACT, GRADIENTS, Cell, ReportRuns, read_runs
from mnist_study.stats import Interval
from mnist_study.tracking.client import client_for, log_to_run

PAGE = "report.html"
TEMPLATE = Path(__file__).with_name("page.html.j2")


# Experiment -> its title, and the accuracies on train and test that the report gives for it.
EXPERIMENTS = {
    "softmax_full_001": ("full batch, rate 0.01", "close to 90 %", "hard to reach 90 %"),
    "softmax_full_002": ("full batch, rate 0.02", "close to 90 %", "hard to reach 90 %"),
    "softmax_full_003": ("full batch, rate 0.03", "close to 90 %", "hard to reach 90 %"),
    "softmax_full_050": ("full batch, rate 0.5", "", ""),
    "softmax_150": ("mini-batch 150", "about 89.3 %", "87.21 %"),
    "softmax_1500": ("mini-batch 1500", "85.6 %", "86.25 %"),
    "softmax_n": ("mini-batch n, a check", "", ""),
    "network_2_constant": ("2 layers, constant rate", "", "97.75 %"),
    "network_2_falling": ("2 layers, falling rate", "", ""),
    "network_4_constant": ("4 layers, constant rate", "", "about 93 %, unstable"),
    "network_4_falling": ("4 layers, falling rate", "", ""),
}
CONTROLS = {
    "softmax_150_short": "mini-batch 150, as many steps as 1500",
    "network_2_once": "2 layers, rate falling once over the run",
    "network_4_once": "4 layers, rate falling once over the run",
    "network_4_he": "4 layers, He initialisation",
    "network_4_slow": "4 layers, rate 0.2",
    "network_4_he_slow": "4 layers of 100, He initialisation, rate 0.2",
    "network_4_he_slower": "4 layers of 100, He initialisation, rate 0.1",
    "network_3_he_slow": "3 layers of 110, He initialisation, rate 0.2",
    "network_2_he_slow": "2 layers of 125, He initialisation, rate 0.2",
}
EPOCHS = 50  # of the networks in the full study

# Search -> network, accuracy to reach on test, largest standard deviation over seeds.
TARGETS: dict[str, tuple[str, float, float | None]] = {
    "softmax": ("softmax regression on mini-batches", 0.92, None),
    "two_layer": ("784-100-10", 0.98, None),
    "four_layer": ("784-100-100-100-10", 0.98, 0.0015),
}
SEARCHES = (*TARGETS, "softmax_report")  # studies whose champions the page quotes
CLAIMS = (*softmax.CLAIMS, *networks.CLAIMS)
CAUSES = (softmax.wrong_gradient, *networks.CAUSES)


def write_page(settings: TrackingConfig, parent: str, study: str, folder: Path) -> None:
    """Write report.html and its figures, and log them to `parent`, the study's own run."""
    runs = read_runs(settings, parent, SEARCHES)
    figures, causes = list(draw_figures(runs)), list(draw_causes(runs))
    files = {PAGE: render(runs, study, figures, causes).encode()}
    files |= {drawing.name: drawing.png for drawing in (*figures, *causes)}
    log_to_run(client_for(settings), parent, files=files)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    print(f"the report's page: {folder / PAGE}, also on the MLflow run of the study {study}")


def render(
    runs: ReportRuns, study: str, figures: Sequence[Drawing], causes: Sequence[Drawing]
) -> str:
    """The page as one HTML file that needs no other."""
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters["inline"] = inline
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    shortened = runs[Cell("network_2_constant", EXACT)].values()
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(
        study=study,
        finished=len({(run.cell, run.seed) for run in runs.tracked if not run.unfinished}),
        seeds=len(runs.seeds),
        epochs=min((run.epochs for run in shortened), default=EPOCHS),
        full_epochs=EPOCHS,
        results=_results(runs),
        claims=judge(CLAIMS, runs),
        causes=judge(CAUSES, runs),
        figures=figures,
        cause_figures=causes,
        controls=[
            [_title(cell, CONTROLS[cell.experiment]), *_accuracies(runs, cell)]
            for cell in cells(CONTROLS)
        ],
        targets=_targets(runs),
        settings=_settings(runs),
        measures=DEFINITIONS,
        missing=_missing(runs),
    )


def inline(text: str) -> Markup:
    """Text as HTML; `code` is understood, and no line begins with a per cent sign."""
    safe = str(escape(text)).replace(" %", "\u00a0%")
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", safe))  # noqa: S704 - escaped above


def cells(experiments: Iterable[str]) -> list[Cell]:
    """The cells of experiments; a softmax has one for each gradient."""
    return [
        Cell(name, gradient)
        for name in experiments
        for gradient in (GRADIENTS if name.startswith("softmax") else (EXACT,))
    ]


def _results(runs: ReportRuns) -> Iterator[list[str]]:
    for cell in cells(EXPERIMENTS):
        title, their_train, their_test = EXPERIMENTS[cell.experiment]
        if cell.gradient == EXACT and cell.experiment.startswith("softmax"):
            their_train = their_test = ""  # the report knew its own gradient only
        train, test = _accuracies(runs, cell)
        yield [_title(cell, title), their_train, train, their_test, test]


def _title(cell: Cell, title: str) -> str:
    _, _, gradient = str(cell).partition(", ")
    return f"`{cell.experiment}`: {title}" + (f", {gradient}" if gradient else "")


def _accuracies(runs: ReportRuns, cell: Cell) -> list[str]:
    """Train and test accuracy over seeds."""
    found = runs[cell].values()
    if not found:
        return ["missing, see below"] * 2
    missing = len(runs.seeds) - len(found)
    note = f"; {missing} missing, see below" if missing else ""
    splits = ([run.final[f"{split}_accuracy"] for run in found] for split in ("train", "test"))
    return [_over_seeds(accuracies) + note for accuracies in splits]


def _over_seeds(found: Sequence[float]) -> str:
    return percent(Interval.of(found)) if len(found) > 1 else f"{found[0] * 100:.2f} %, n = 1"


def _targets(runs: ReportRuns) -> Iterator[list[str]]:
    for search, (title, target, spread) in TARGETS.items():
        goal = f"{target * 100:.1f} %"
        if spread:
            goal += f", standard deviation under {spread * 100:.2f} points"
        champion = runs.champions.get(search)
        if champion is None:
            command = f"not in this store: `python -m mnist_study +sweep={search}`"
            yield [title, goal, command, "not searched"]
            continue
        reached = champion.mean >= target and (spread is None or champion.std < spread)
        sure = "yes, with the whole interval" if champion.low >= target else "yes"
        yield [title, goal, percent(champion), sure if reached else "no"]


def _settings(runs: ReportRuns) -> Iterator[list[str]]:
    """What distinguishes the experiments, each read from its first run, a finished one if any."""
    first: dict[str, Mapping[str, str]] = {}
    for run in sorted(runs.tracked, key=lambda run: bool(run.unfinished)):
        first.setdefault(run.cell.experiment, run.params)
    for name in (*EXPERIMENTS, *CONTROLS):
        if name not in first:
            continue
        get = first[name].get
        hidden = [get("model.width", "?")] * (int(get("model.depth", "1")) - 1)
        drawn = ", drawn with replacement" if get("training.sampling") == "replacement" else ""
        every = get("training.eval_every", "?")
        yield [
            f"`{name}`",
            "-".join(["784", *hidden, "10"]),
            "He" if get("model.init") == "he" else f"std {get('model.init_std', '?')}",
            get("training.batch_size", "?") + drawn,
            _rate(first[name]),
            get("training.epochs", "?"),
            "every epoch" if every == "epoch" else f"every {every} iterations",
            "watched" if get("training.test") == "curve" else str(get("training.test")),
        ]


def _rate(params: Mapping[str, str]) -> str:
    rate = params.get("optimizer.lr", "?")
    if params.get("schedule") != "linear":
        return f"{rate}, {params.get('schedule')}"
    end = f"{100 * float(params.get('schedule.end_factor', '0')):g} %"
    if params.get("schedule.restart") != "epoch":
        return f"{rate}, falling to {end} once over the run"
    if "schedule.tau" not in params:  # an epoch is one iteration
        return f"{rate}, restarting with every iteration"
    return f"{rate}, falling to {end} in {params['schedule.tau']} iterations of every epoch"


def _missing(runs: ReportRuns) -> list[list[str]]:
    """The seeds without a finished run, by cell and reason."""
    reasons = {(run.cell, run.seed): run.unfinished for run in runs.tracked}
    seeds: dict[tuple[Cell, str], list[str]] = {}
    for cell in cells([*EXPERIMENTS, *CONTROLS]):
        for seed in sorted({*(runs.seeds or [0])} - runs[cell].keys()):
            why = reasons.get((cell, seed), "no run in this study")
            seeds.setdefault((cell, why), []).append(str(seed))
    return [[str(cell), ", ".join(found), why] for (cell, why), found in seeds.items()]
