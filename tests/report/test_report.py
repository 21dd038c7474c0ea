"""The report's page: from a store with gaps, and from a short study of one's own."""

from __future__ import annotations

import html
import io
import re

import numpy as np
import pytest

from mnist_study.config import TrackingConfig
from mnist_study.report.__main__ import main
from mnist_study.report.page import inline, write_page
from mnist_study.study.runs import StudyRuns
from mnist_study.tracking.client import (
    client_for,
    ensure_experiment,
    log_to_run,
    set_run_status,
)
from tests.command import mnist_study

FULL = {"optimizer.lr": 0.02, "training.epochs": 60, "schedule": "constant"}
FOUR = {"model.depth": 4, "model.width": 100, "model.init": "he", "training.batch_size": 1500,
        "training.sampling": "replacement"}  # fmt: skip


def log_run(
    settings, parent, experiment, *, gradient="exact", seed=0, failure=None, rising=0.0, **params
):
    """A run as the recorder leaves one: a cost that falls, and climbs by `rising` at its end."""
    from mlflow.entities import Metric

    client = client_for(settings)
    tags = {"mlflow.parentRunId": parent, "experiment": experiment}
    run = client.create_run(ensure_experiment(settings), tags=tags).info.run_id
    log_to_run(client, run, params={
        "optimizer.lr": 0.8, "training.epochs": 50, "training.gradient": gradient,
        "training.seed": seed, **params,
    })  # fmt: skip
    if failure:
        set_run_status(settings, run, "FAILED", failure)
        return
    fall = (
        np.concatenate([np.linspace(2, 0.5, 50), np.linspace(0.5, 0.5 + rising, 10)]) + seed / 1000
    )
    client.log_batch(run, metrics=[
        Metric(f"{split}/{quantity}", value, 0, step)
        for step, loss in enumerate(fall, 1)
        for quantity, value in (("loss", loss), ("accuracy", 1 - loss / 3))
        for split in ("train", "test")
    ])  # fmt: skip
    log_to_run(client, run, metrics={
        "final/train_accuracy": 0.85 + seed / 1000, "final/test_accuracy": 0.86 + 1.1 * seed / 1000,
        "final/train_loss": 0.60 + seed / 1000, "final/test_loss": 0.58 + 1.1 * seed / 1000,
    })  # fmt: skip
    packed = io.BytesIO()
    np.savez(packed, W1=np.random.default_rng(seed).normal(size=(784, 10)).astype(np.float32))
    log_to_run(client, run, files={"weights.npz": packed.getvalue()})
    set_run_status(settings, run, "FINISHED")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A study of which only one rate of the softmax has finished, and one network has diverged."""
    folder = tmp_path_factory.mktemp("store")
    settings = TrackingConfig("mlflow", f"sqlite:///{folder / 'mlflow.db'}", "mnist", None)
    parent = StudyRuns(settings).create_parent("report", {})
    for seed in (0, 1, 2):
        for gradient, rising in (("report", 0.05), ("exact", 0.0)):
            log_run(
                settings,
                parent,
                "softmax_full_002" if gradient == "report" else "softmax_full_002_exact",
                gradient=gradient,
                seed=seed,
                rising=rising,
                **FULL,
            )
    log_run(
        settings,
        parent,
        "network_4_he",
        seed=1,
        failure="Diverged: loss is <nan> at step 23",
        **FOUR,
    )
    write_page(settings, parent, "report", folder)
    return settings, parent, folder


def rows_of(page):
    """Every row of the page's tables as one line of text, cells between bars."""
    rows = re.findall("<tr>(.*?)</tr>", (page[2] / "report.html").read_text())
    texts = [re.sub("<[^>]*>", "", re.sub("</t[dh]>", " | ", f"| {row}")).strip() for row in rows]
    return [html.unescape(text).replace("\u00a0", " ") for text in texts]


def test_the_results_are_means_over_seeds(page):
    """Mean, standard deviation, Student's interval and the number of seeds stand in the cell."""
    row = next(row for row in rows_of(page) if "rate 0.02, exact" in row)
    assert "85.10 % ± 0.10 [84.85, 85.35], n = 3" in row


def test_every_gap_is_named_with_its_reason(page):
    """A failed run gives its failure, a missing one is named as missing, seeds together."""
    rows = rows_of(page)
    assert "| network_4_he | 1 | Diverged: loss is <nan> at step 23 |" in rows
    assert "| network_4_he | 0, 2 | no run in this study |" in rows
    assert "| network_2_constant | 0, 1, 2 | no run in this study |" in rows
    assert any("missing, see below" in row for row in rows)


def test_the_settings_are_those_of_the_runs(page):
    """One row an experiment, from what its first run was composed of."""
    row = next(row for row in rows_of(page) if "| softmax_full_002 | 784" in row)
    assert "| 784-10 | std ? | ? | 0.02, constant | 60 |" in row
    expected = "| network_4_he | 784-100-100-100-10 | He | 1500, drawn with replacement |"
    assert any(expected in row for row in rows_of(page))


def test_a_claim_without_its_runs_is_not_judged(page):
    """The claim stands in the table, with the runs that it lacks."""
    row = next(row for row in rows_of(page) if "| Test accuracy grows" in row)
    assert "cannot be judged: softmax_full_002, report gradient and softmax_full_001" in row


def test_a_search_that_was_not_made_is_named_with_its_command(page):
    """The targets name the command of a missing search."""
    assert any("python -m mnist_study +sweep=four_layer" in row for row in rows_of(page))


def test_the_html_needs_no_other_file(page):
    """Every picture is inside, nothing is fetched."""
    text = (page[2] / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(sources) == 2  # figures 2 and 3 have a run
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert "<script" not in text


def test_the_page_is_on_the_studys_run(page):
    """Page and figures are artifacts at its root."""
    settings, parent, _ = page
    names = {item.path for item in client_for(settings).list_artifacts(parent)}
    assert names == {"report.html", "figure2.png", "figure3.png"}


def test_an_unknown_study_is_rejected(page, capsys, monkeypatch, tmp_path):
    """One sentence, exit code 2, and no folder is made."""
    monkeypatch.chdir(tmp_path)
    assert main(["nothing", page[0].uri]) == 2
    assert "STUDY must be a study in the store, got nothing" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_other_words_get_the_usage(capsys):
    """The command takes two words at most."""
    assert main(["--help"]) == 2
    assert "usage:" in capsys.readouterr().err


def test_a_scale_that_is_no_share_is_rejected_before_anything_runs(tmp_path):
    """One sentence that names the key, exit code 2, and no trial."""
    done = mnist_study("+sweep=report", "engine=local", "report.scale=0", folder=tmp_path)
    assert done.returncode == 2
    assert "0 < report.scale <= 1 must hold, got report.scale=0" in done.stderr
    assert not (tmp_path / "multirun" / "report" / "0").exists()


def test_text_is_text_in_html(page):
    """Markup in a failure's reason is escaped; backquotes mark code."""
    assert "Diverged: loss is &lt;nan&gt; at step 23" in (page[2] / "report.html").read_text()
    assert inline("A & `y` <script>") == "A &amp; <code>y</code> &lt;script&gt;"


def test_no_line_begins_with_a_per_cent_sign():
    """Number and sign stay together."""
    assert inline("95 %") == "95\u00a0%"


def test_a_short_study_ends_with_a_page(tmp_path):
    """One command runs, tracks and writes; the same again changes nothing and prints that."""
    words = ["+sweep=report", "engine=local", "report.scale=0.01", "training.seed=range(0,2)",
             "experiment=choice(softmax_1500,softmax_1500_exact,network_2_constant)"]  # fmt: skip
    first = mnist_study(*words, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    page = tmp_path / "multirun" / "report" / "report.html"
    written = page.read_text()
    assert "A short version, with 1 of 50 epochs" in written
    assert "6 finished runs of the study <code>report</code> over 2 seeds" in written
    assert "cost, batch" not in written  # titles are in the pictures
    assert len(re.findall("data:image/png", written)) >= 3
    stamp = page.stat().st_mtime_ns
    again = mnist_study(*words, folder=tmp_path)
    assert "study report is complete: 6 trials" in again.stdout
    assert page.stat().st_mtime_ns == stamp
