"""A callback that logs its calls, and asks for three more runs of the best point."""

from pathlib import Path

from hydra_plugins.hydra_optuna_study import FollowUp, StudyCallback


class CallLog(StudyCallback):
    def __init__(self, file):
        self.file = Path(file).absolute()

    def write(self, line):
        with self.file.open("a") as file:
            file.write(f"{line}\n")

    def check(self, config):
        self.write("checked")

    def study_started(self, study, config):
        self.write(f"started {study.study_name} {config.hydra.sweeper.n_trials}")

    def trials_changed(self, study):
        self.write("changed")

    def study_ended(self, study, interrupted):
        self.write(f"ended {study.study_name} {interrupted}")

    def follow_up(self, study):
        if study.user_attrs["follows"]:
            return None
        best = study.best_trial
        return FollowUp(
            suffix=f"best-{best.number}",
            params={"steps": "range(1, 4)"},
            n_trials=None,
            overrides=best.user_attrs["overrides"],
            sampler={"_target_": "optuna.samplers.GridSampler"},
        )
