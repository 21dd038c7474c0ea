"""An observer that writes down what it sees, and asks for three more seeds of the best point."""

from pathlib import Path

from hydra_plugins.hydra_optuna_study._callback import Search


class Watching:
    def __init__(self, file):
        self.file = Path(file).absolute()

    def say(self, line):
        with self.file.open("a") as file:
            file.write(f"{line}\n")

    def check(self, config):
        self.say("checked")

    def study_started(self, study, config):
        self.say(f"started {study.study_name} {config.hydra.sweeper.n_trials}")

    def trials_changed(self, study):
        self.say("changed")

    def study_ended(self, study, interrupted):
        self.say(f"ended {study.study_name} {interrupted}")

    def next_search(self, study):
        if study.user_attrs["follows"]:
            return None
        best = study.best_trial
        return Search(
            suffix=f"best-{best.number}",
            params={"steps": "range(1, 4)"},
            n_trials=None,
            overrides=best.user_attrs["overrides"],
            sampler={"_target_": "optuna.samplers.GridSampler"},
        )
