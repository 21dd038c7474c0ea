"""Two runs in MLflow's pages, as a person sees them: a real server, a real browser."""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.parse

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.command import mnist_study
from tests.mlflow_server import Server
from tests.needs import needs

SEEN = {  # MLflow opens panels over the page unless it believes that they were seen
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.detectIssues.guidanceShown_v1": "true",
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium that speaks to this machine only."""
    for program in ("chromium", "chromedriver"):
        needs(shutil.which(program), f"{program}: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "disable-component-update",
        "no-first-run",
        "window-size=1500,1200",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def runs(server: Server, tmp_path_factory):
    """Two short tracked trainings; their ids."""
    folder = tmp_path_factory.mktemp("runs")
    small = [f"tracking.uri={server.uri}", "tracking.experiment=browser", "training.epochs=2"]
    hints = []
    for words in (["model=softmax"], ["model=softmax", "optimizer.lr=0.02"]):
        done = mnist_study(*words, *small, folder=folder)
        assert done.returncode == 0, done.stderr
        hints.append(done.stdout.split("open ")[-1].strip())
    experiment = hints[0].split("/experiments/")[1].split("/")[0]
    return experiment, hints, [re.search(r"runs/(\w+)", hint)[1] for hint in hints]


def page(browser, server, address, *words, timeout=40):
    """Open an address from a blank page and wait until all the words are on it; its text."""
    browser.get(server.uri)
    for key, value in SEEN.items():
        browser.execute_script("localStorage.setItem(arguments[0], arguments[1])", key, value)
    browser.get("about:blank")
    browser.get(address)
    until = time.monotonic() + timeout
    text = ""
    while time.monotonic() < until:
        text = browser.find_element(By.TAG_NAME, "body").text
        if all(word in text for word in words):
            return text
        time.sleep(0.3)
    raise AssertionError(f"{[w for w in words if w not in text]} not on the page: {text[:2000]}")


def test_the_address_that_a_run_prints_shows_that_run(browser, server, runs):
    """Its name, its status, its parameters and its final accuracy."""
    _, hints, _ = runs
    page(browser, server, hints[0], "784-10", "Finished", "optimizer.lr", "final/test_accuracy")


def test_a_runs_curves_and_weight_images_are_charts(browser, server, runs):
    """The metrics page draws the curves, and the ten class images as pictures."""
    experiment, _, (run, _) = runs
    address = f"{server.uri}/#/experiments/{experiment}/runs/{run}/model-metrics"
    page(browser, server, address, "train", "validation", "weights/final")
    until = time.monotonic() + 30
    while time.monotonic() < until and not browser.find_elements(
        By.CSS_SELECTOR, ".js-plotly-plot"
    ):
        time.sleep(0.3)
    assert browser.find_elements(By.CSS_SELECTOR, ".js-plotly-plot")


def test_two_runs_can_be_compared(browser, server, runs):
    """The compare page shows both rates side by side, and the files that both runs have."""
    experiment, _, ids = runs
    query = {"runs": json.dumps(ids), "experiments": json.dumps([experiment])}
    address = f"{server.uri}/#/compare-runs?{urllib.parse.urlencode(query)}"
    page(browser, server, address, "optimizer.lr", "0.02", "final/test_accuracy")
