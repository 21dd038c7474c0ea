"""The champion of a search: its configuration again, with fresh seeds, and what that says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import TYPE_CHECKING

from mnist_study.stats import Interval, t_quantile

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from hydra_plugins.hydra_optuna_study import FollowUp

CHAMPION = "champion"  # name of the follow-up search, and of the figures it leaves
_MOMENTS = ("seeds", "test_accuracy_mean", "test_accuracy_std")
_BOUNDS = ("test_accuracy_ci95_low", "test_accuracy_ci95_high")
_KEYS = [f"{CHAMPION}/{name}" for name in (*_MOMENTS, *_BOUNDS)]  # of an interval's fields
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
    moments = [f"{CHAMPION}/{name}" for name in _MOMENTS]
    if not figures.keys() >= set(moments):
        return None
    n, mean, std = (figures[key] for key in moments)
    return Interval.from_moments(int(n), mean, std)


def champion_line(accuracy: Interval) -> str:
    """What the champion reached, in one sentence."""
    start = f"champion, trained on train + validation: test accuracy {accuracy.mean:.2%}"
    if not accuracy.known:
        return f"{start} with each of {accuracy.n} seeds: too few to tell a spread or an interval"
    return (
        f"{start}, standard deviation {accuracy.std:.2%}, 95 % interval of the mean "
        f"{accuracy.low:.2%} to {accuracy.high:.2%} ({accuracy.n} seeds)"
    )


def near_ties(study: optuna.Study, metric: str, accuracy: Interval) -> str:
    """Which of the five best trials differ from the best by no more than another seed may.

    Two runs of one configuration differ by a normal variable of standard deviation sqrt(2) std, so
    95 % of such differences are below t sqrt(2) std, where std is estimated from few seeds.

    Args:
        metric: what the search compared, of several objectives the first.
        accuracy: the champion's. Its spread is that of an accuracy or an error, and of no other
            metric: of those nothing is claimed.
    """
    several = f" by {metric}, the first objective" if len(study.directions) > 1 else ""
    if metric.rpartition("/")[2] not in ("accuracy", "error"):
        return f"near-ties are not named: the spread of {metric} over seeds is not known"
    if not accuracy.known:
        return "near-ties are not named: the champion's seeds agree, which tells no spread"
    noise = t_quantile(accuracy.n) * 2**0.5 * accuracy.std
    best, *others = _ranked(study, _complete(study))[:5]
    ties = [str(t.number) for t in others if abs(t.values[0] - best.values[0]) <= noise]
    if not ties:
        return (
            f"no other of the five best trials{several} is within the noise of seeds ({noise:.2%})"
        )
    subject = f"trials {', '.join(ties)} are" if len(ties) > 1 else f"trial {ties[0]} is"
    where = f"of trial {best.number}, the best{several}"
    return f"{subject} within the noise of seeds ({noise:.2%}) {where}"


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]


def _ranked(study: optuna.Study, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Best first, by the first objective."""
    largest_first = study.directions[0].name == "MAXIMIZE"
    return sorted(trials, key=lambda trial: trial.values[0], reverse=largest_first)
