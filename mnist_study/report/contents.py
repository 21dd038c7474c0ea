"""What the report's page says: results, verdicts, figures, causes, and what is missing."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_study.report import measures
from mnist_study.report import networks as report_networks
from mnist_study.report import softmax as report_softmax
from mnist_study.report.evidence import accuracy
from mnist_study.report.page import Block, Bullets, Heading, Picture, Table, Text
from mnist_study.report.pictures import Drawing
from mnist_study.report.runs import EXACT, REPORT, Cell, ReportRuns
from mnist_study.report.settings import settings_table
from mnist_study.report.verdicts import Verdict, judge
from mnist_study.stats import Interval


@dataclass(frozen=True)
class Found:
    """One of the report's experiments and what the report says it reached."""

    title: str
    train: str = ""
    test: str = ""


EXPERIMENTS = {
    "softmax_full_001": Found("full batch, rate 0.01", "close to 90 %", "hard to reach 90 %"),
    "softmax_full_002": Found("full batch, rate 0.02", "close to 90 %", "hard to reach 90 %"),
    "softmax_full_003": Found("full batch, rate 0.03", "close to 90 %", "hard to reach 90 %"),
    "softmax_full_050": Found("full batch, rate 0.5"),
    "softmax_150": Found("mini-batch 150", "about 89.3 %", "87.21 %"),
    "softmax_1500": Found("mini-batch 1500", "85.6 %", "86.25 %"),
    "softmax_n": Found("mini-batch n, a check"),
    "network_2_constant": Found("2 layers, constant rate", "", "97.75 %"),
    "network_2_falling": Found("2 layers, falling rate"),
    "network_4_constant": Found("4 layers, constant rate", "", "about 93 %, unstable"),
    "network_4_falling": Found("4 layers, falling rate"),
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
CLAIMS = (*report_softmax.CLAIMS, *report_networks.CLAIMS)
CAUSES = (report_softmax.wrong_gradient, *report_networks.CAUSES)
MEASURES = ("sharpness", "noise", "oscillation", "rise", "largest_relapse", "waiting")

_REPORT = (
    "The report builds a classifier of handwritten digits from scratch: softmax regression by "
    "gradient descent on all images, then on mini-batches, then networks of 2 and 4 layers. It "
    "makes nine claims, misses its targets and asks for a parameter search. Here each of its "
    "experiments is run again with several seeds, each claim is put to a test whose rule stands "
    "beside it, and each surprise is traced to its cause by changing one thing."
)
_HOW_SETTINGS = (
    "As the runs were composed; `python -m mnist_study experiment=NAME` repeats one, and "
    "`training.gradient=exact` gives a softmax the exact gradient. All train on the 60,000 images, "
    "by plain gradient descent in float32, biases from 0."
)
_HOW_RESULTS = (
    "Accuracy over the whole set at the end: mean ± standard deviation over seeds, [95 % interval "
    "of the mean], number of seeds. Softmax regression is there with the report's gradient, which "
    "gives wrong classes none, and with the exact one."
)
_HOW_FIGURES = (
    "Lines are means over seeds, bands reach from the lowest to the highest seed, and the numbers "
    "are means of the final values over the whole sets. The axes leave out the first 2 % of a run, "
    "whose fall would flatten the rest; of a long curve each of 400 stretches shows its extremes."
)
_HOW_TARGETS = (
    "A search selects on validation; its best configuration is trained again on train + validation "
    "with fresh seeds, and only these runs see the test set."
)


def contents(runs: ReportRuns, study: str, drawings: Sequence[Drawing]) -> list[Block]:
    """The whole page."""
    pictures = [Picture(drawing.name, drawing.caption) for drawing in drawings]
    return [
        Heading("The report, reproduced and answered", 1),
        Text(_summary(runs, study)),
        Text(_REPORT),
        Heading("Results"),
        Text(_HOW_RESULTS),
        _results(runs),
        Heading("Its claims"),
        *_verdicts("claim", judge(CLAIMS, runs)),
        Heading("Its figures, drawn anew"),
        Text(_HOW_FIGURES),
        *[picture for picture in pictures if picture.name.startswith("figure")],
        Heading("The causes"),
        Text("Each surprise has a controlled experiment: the same runs, one thing changed."),
        *_verdicts("cause", judge(CAUSES, runs)),
        *[picture for picture in pictures if picture.name.startswith("cause")],
        _controls(runs),
        Heading("The targets"),
        Text(_HOW_TARGETS),
        _targets(runs),
        Heading("The settings"),
        Text(_HOW_SETTINGS),
        settings_table(runs, cells()),
        Heading("The measures"),
        Bullets([f"`{name}`: {_definition(name)}" for name in MEASURES]),
        Heading("What is missing"),
        _missing(runs),
    ]


def cells() -> list[Cell]:
    """Every cell of the page."""
    return [
        Cell(name, gradient)
        for name in (*EXPERIMENTS, *CONTROLS)
        for gradient in ((REPORT, EXACT) if name.startswith("softmax") else (EXACT,))
    ]


def _summary(runs: ReportRuns, study: str) -> str:
    finished = sum(len(found) for found in runs.runs.values())
    networks = list(runs[Cell("network_2_constant", EXACT)].values())
    short = (
        f" **A short version, with {networks[0].epochs} of {EPOCHS} epochs: its verdicts are for "
        "trying out.**"
        if networks and networks[0].epochs < EPOCHS
        else ""
    )
    return (
        f"Made by `mnist_study` from the {finished} finished runs of the study `{study}` over "
        f"{len(runs.seeds)} seeds; every number, figure and verdict below is computed from them."
        f"{short}"
    )


def _results(runs: ReportRuns) -> Table:
    rows = []
    for cell in cells():
        if cell.experiment not in EXPERIMENTS:
            continue
        found = EXPERIMENTS[cell.experiment]
        softmax = cell.experiment.startswith("softmax")
        title = f"`{cell.experiment}`: {found.title}"
        title += f", {cell.gradient} gradient" if softmax else ""
        own = cell.gradient == REPORT or not softmax  # the report knew one gradient only
        theirs = [found.train, found.test] if own else ["", ""]
        ours = [_over_seeds(runs, cell, f"{split}_accuracy") for split in ("train", "test")]
        rows.append([title, theirs[0], ours[0], theirs[1], ours[1]])
    return Table(["experiment", "report: train", "ours: train", "report: test", "ours: test"], rows)


def _controls(runs: ReportRuns) -> Table:
    rows = []
    for cell in cells():
        if title := CONTROLS.get(cell.experiment):
            if cell.experiment.startswith("softmax"):
                title += f", {cell.gradient} gradient"
            title = f"`{cell.experiment}`: {title}"
            scores = [_over_seeds(runs, cell, f"{split}_accuracy") for split in ("train", "test")]
            rows.append([title, *scores])
    return Table(["control", "train accuracy", "test accuracy"], rows)


def _over_seeds(runs: ReportRuns, cell: Cell, key: str) -> str:
    found = [run.final[key] for run in runs[cell].values()]
    if not found:
        return "missing, see below"
    text = accuracy(Interval.of(found)) if len(found) > 1 else f"{found[0] * 100:.2f} %, n = 1"
    lost = len(runs.seeds) - len(found)
    return f"{text}; {lost} missing, see below" if lost else text


def _verdicts(word: str, verdicts: Sequence[Verdict]) -> list[Block]:
    """A table of all, then the evidence of each."""
    found = [(v.statement, v.finding) for v in verdicts]
    rows = [[str(k), claim, f"**{f.verdict}**"] for k, (claim, f) in enumerate(found, 1)]
    blocks: list[Block] = [Table(["", word, "verdict"], rows)]
    for k, (statement, finding) in enumerate(found, 1):
        if finding.evidence:
            blocks += [
                Heading(f"{word.capitalize()} {k}: {finding.verdict}", 3),
                Text(f"{statement} **Rule:** {finding.rule}"),
                Bullets(finding.evidence),
            ]
    return blocks


def _targets(runs: ReportRuns) -> Table:
    rows = []
    for name, (title, target, spread) in TARGETS.items():
        goal = f"{target * 100:.1f} %"
        if spread:
            goal += f", standard deviation under {spread * 100:.2f} points"
        champion = runs.champions.get(name)
        if champion is None:
            command = f"not in this store: `python -m mnist_study +sweep={name}`"
            rows.append([title, goal, command, "not searched"])
            continue
        reached = champion.mean >= target and (spread is None or champion.std < spread)
        sure = "yes, with the whole interval" if champion.low >= target else "yes"
        rows.append([title, goal, accuracy(champion), sure if reached else "no"])
    return Table(["network", "target", "champion on test", "reached"], rows)


def _missing(runs: ReportRuns) -> Block:
    seeds: dict[tuple[Cell, str], list[int]] = {}
    for cell, seed, why in runs.missing(cells()):
        seeds.setdefault((cell, why), []).append(seed)
    if not seeds:
        return Text("Nothing: every experiment finished with every seed.")
    rows = [[str(cell), ", ".join(map(str, s)), why] for (cell, why), s in seeds.items()]
    return Table(["experiment", "seeds", "why"], rows)


def _definition(name: str) -> str:
    text = inspect.getdoc(getattr(measures, name)) or ""
    return " ".join(text.partition("\n\nArgs:")[0].split())
