"""The champion of a search: its configuration again, with fresh seeds, and what that says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import TYPE_CHECKING

from mnist_study.stats import Interval

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from hydra_plugins.hydra_optuna_study import FollowUp

CHAMPION = "champion"  # name of the follow-up search, and of the figures it leaves
_ACCURACY = (f"test_accuracy_{word}" for word in ("mean", "std", "ci95_low", "ci95_high"))
_KEYS = [f"{CHAMPION}/{name}" for name in ("seeds", *_ACCURACY)]  # of an interval's fields
FRESH_SEEDS = 1000  # that a champion's runs are drawn from; more of them can be asked for later


def is_champion(study: optuna.Study) -> bool:
    """Whether the study repeats the champion of another one."""
    return bool(study.user_attrs.get("follows"))


def champion_search(study: optuna.Study, seeds: int, first: int) -> FollowUp:
    """The best configuration on train + validation, with `seeds` seeds from `first` on, on test.

    Of several objectives the best in the first one counts.
    """
    from hydra_plugins.hydra_optuna_study import FollowUp

    best = _ranked(study, study.best_trials)[0]
    return FollowUp(
        suffix=f"{CHAMPION}-{best.number}",  # a larger budget may find another champion
        params={"training.seed": f"range({first},{first + FRESH_SEEDS})"},
        n_trials=seeds,
        overrides=[*best.user_attrs["overrides"], "data.validation=0", "training.test=end"],
        sampler={"_target_": "optuna.samplers.GridSampler"},
        metric="test/accuracy",
        direction="maximize",
    )


def trial_counts(study: optuna.Study) -> dict[str, float]:
    """How many trials are in each state, by metric key."""
    from optuna.trial import TrialState

    counts = Counter(trial.state for trial in study.get_trials(deepcopy=False))
    return {f"trials/{state.name.lower()}": float(counts[state]) for state in TrialState}


def summary(study: optuna.Study) -> dict[str, float]:
    """The figures of a study's own run: how its trials ended, its best value or its mean."""
    figures = trial_counts(study)
    values = [trial.values[0] for trial in _complete(study)]
    if is_champion(study):
        if len(values) >= 2:
            accuracy = Interval.of(values)
            figures = dict(zip(_KEYS, map(float, astuple(accuracy)), strict=True))
    elif values and len(study.directions) == 1:
        figures["best/value"] = study.best_value
        figures["best/trial"] = float(study.best_trial.number)
    elif values:
        figures["pareto/trials"] = float(len(study.best_trials))
        for k, direction in enumerate(study.directions):
            extreme = max if direction.name == "MAXIMIZE" else min
            figures[f"best/value_{k}"] = extreme(t.values[k] for t in study.best_trials)
    return figures


def champion_accuracy(figures: Mapping[str, float]) -> Interval | None:
    """The champion's test accuracy in the figures of its study, if they have it."""
    if not figures.keys() >= set(_KEYS):
        return None
    n, *rest = (figures[key] for key in _KEYS)
    return Interval(int(n), *rest)


def champion_line(accuracy: Interval) -> str:
    """What the champion reached, in one sentence."""
    return (
        f"champion, trained on train + validation: test accuracy {accuracy.mean:.2%}, standard "
        f"deviation {accuracy.std:.2%}, 95 % interval of the mean {accuracy.low:.2%} to "
        f"{accuracy.high:.2%} ({accuracy.n} seeds)"
    )


def near_ties(study: optuna.Study, std: float) -> str:
    """Which of the five best trials differ from the best by no more than another seed may.

    Two runs of one configuration differ by a normal variable of standard deviation sqrt(2) std,
    so 95 % of such differences are below 1.96 sqrt(2) std.
    """
    noise = 1.96 * 2**0.5 * std
    best, *others = _ranked(study, _complete(study))[:5]
    ties = [str(t.number) for t in others if abs(t.values[0] - best.values[0]) <= noise]
    if not ties:
        return f"no other of the five best trials is within the noise of seeds ({noise:.2%})"
    subject = f"trials {', '.join(ties)} are" if len(ties) > 1 else f"trial {ties[0]} is"
    return f"{subject} within the noise of seeds ({noise:.2%}) of trial {best.number}, the best"


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]


def _ranked(study: optuna.Study, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Best first, by the first objective."""
    largest_first = study.directions[0].name == "MAXIMIZE"
    return sorted(trials, key=lambda trial: trial.values[0], reverse=largest_first)
