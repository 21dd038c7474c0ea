"""A sampler that is at fault, for the tests."""

from optuna.samplers import RandomSampler


class RaisesAfterTrial(RandomSampler):
    def after_trial(self, study, trial, state, values):
        raise RuntimeError("after a trial")
