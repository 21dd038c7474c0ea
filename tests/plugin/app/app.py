"""A small Hydra app that knows neither MNIST nor MLflow: what the sweeper's tests sweep."""

import os
import time
from pathlib import Path

import hydra
import threadpoolctl  # noqa: F401  # loaded, so that its limits reach numpy
from hydra.core.hydra_config import HydraConfig

from hydra_plugins.hydra_optuna_study import current_trial

VERSION_BASE = {"version_base": None} if hydra.__version__ < "1.4" else {}


def note(line):
    """Append to the trial's own account of itself."""
    with (Path(HydraConfig.get().runtime.output_dir) / "account.txt").open("a") as file:
        file.write(f"{line}\n")


@hydra.main(**VERSION_BASE, config_path="conf", config_name="config")
def main(cfg):
    """A parabola, reached from above step by step."""
    trial = current_trial()
    note(f"begin {os.getpid()} {time.time()}")
    value = (cfg.x - 1) ** 2 + cfg.depth
    bad = cfg.fail if cfg.depth == 1 else ""
    if bad == "raise":
        raise ValueError("as asked")
    if bad == "long":
        raise ValueError("word " * 1000)
    if bad == "file":
        (Path(HydraConfig.get().runtime.cwd) / "needed.txt").read_text()
    if bad == "exit":
        raise SystemExit(2)
    if bad == "missing":
        return {"other": value}
    sleep = cfg.sleep * (10 if cfg.x < cfg.slow_below else 1)
    for step in range(cfg.steps):
        time.sleep(sleep)
        if trial is not None:
            trial.report(value + 1 / (step + 1), step)
            if trial.should_prune():
                import optuna

                note("pruned")
                raise optuna.TrialPruned
    note(f"end {time.time()}")
    value = float("nan") if bad == "undefined" else value
    return {"value": value, "cost": float(cfg.depth)}


if __name__ == "__main__":
    main()
