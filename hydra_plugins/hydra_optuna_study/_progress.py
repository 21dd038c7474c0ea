"""Progress of a study: one line that is redrawn on a terminal, plain lines elsewhere, a summary."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial
from tqdm import tqdm

from ._config import SweepConfig
from ._process import abort, one_line
from ._trials import TrialsByState, failure_of, hopeless, ranked, trials_by_state

REASON = 160  # characters of a reason on the terminal
LINE_SECONDS = 5.0  # between plain lines, unless the study ends


class Progress:
    """Within, a thread reads the storage once a second, prints, and calls `changed`."""

    def __init__(
        self, study: optuna.Study, n_trials: int, changed: Callable[[optuna.Study], None]
    ) -> None:
        self.study, self.n_trials, self.changed = study, n_trials, changed
        self.live = sys.stdout.isatty()
        self.began = time.monotonic()
        self.before = trials_by_state(study).finished
        self.printed, self.printed_at = "", 0.0
        self.counts: tuple[int, ...] = ()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._loop, name="progress", daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        self._update(last=True)
        if self.live:
            print(flush=True)

    def _loop(self) -> None:
        while not self.stop.wait(1.0):
            try:
                self._update()
            except Exception as error:  # noqa: BLE001  # the storage may be back in a second
                self._print(f"cannot read the study: {one_line(error)}")

    def _update(self, last: bool = False) -> None:
        trials = trials_by_state(self.study)
        counts = (trials.taken, trials.finished, trials.replaced)
        if counts != self.counts:
            self.counts = counts
            self.changed(self.study)
        if self.live or last or time.monotonic() - self.printed_at >= LINE_SECONDS:
            self._print(self.line(trials))

    def _print(self, line: str) -> None:
        if line != self.printed:
            self.printed, self.printed_at = line, time.monotonic()
            start, end = ("\r\x1b[K", "") if self.live else ("", "\n")
            print(f"{start}{line}", end=end, flush=True)

    def line(self, trials: TrialsByState) -> str:
        """Number of trials by state, best value so far, and time left at the pace of this run."""
        done = trials.finished
        parts = [f"{self.study.study_name}: {done}/{self.n_trials} trials"]
        numbers = {w: len(getattr(trials, w)) for w in ("running", "pruned", "failed")}
        parts += [f"{number} {word}" for word, number in numbers.items() if number]
        if trials.complete:
            best = ranked(self.study, trials.complete)[0]
            values = " ".join(f"{value:.6g}" for value in best.values)
            parts.append(f"best {values} (trial {best.number})")
        if done > self.before and done < self.n_trials:
            pace = (time.monotonic() - self.began) / (done - self.before)
            parts.append(f"{tqdm.format_interval(pace * (self.n_trials - done))} left")
        return ", ".join(parts)


def sum_up(
    study: optuna.Study,
    trials: TrialsByState,
    sweep: SweepConfig,
    interrupted: bool,
    continue_with: str,
) -> None:
    """Print the best trials and what failed, when the workers have ended.

    Raises: SystemExit: 1 if the study failed, 130 after Ctrl-C.
    """
    name = sweep.study_name
    if trials.complete:
        print(best_table(study), flush=True)
    if trials.failed:
        failed = f"{len(trials.failed)} of {trials.finished} finished trials failed"
        reason = _failure_line(trials.failed[-1])
        if trials.too_many_failures(sweep.max_failure_rate, sweep.n_trials):
            limit = f"hydra.sweeper.max_failure_rate={sweep.max_failure_rate}"
            abort(f"study {name} stopped: {failed}, more than {limit}; {reason}", code=1)
        if why := hopeless(trials):
            abort(f"study {name} stopped: {_shorten(why)}; mended, {continue_with}", code=1)
        print(f"{failed}; {reason}", file=sys.stderr)
    if interrupted:
        done = f"{trials.finished} of {sweep.n_trials} trials"
        abort(f"study {name} interrupted at {done}; {continue_with}", code=130)
    if trials.finished and not trials.complete:
        ends = f"{len(trials.pruned)} pruned, {len(trials.failed)} failed"
        again = f"; mended, {continue_with}" if trials.failed else ""
        abort(f"study {name}: no trial was completed, {ends}{again}", code=1)


def _failure_line(trial: FrozenTrial) -> str:
    """A trial and why it failed, short enough for a line; the rest is in its `failure.txt`."""
    return f"trial {trial.number}: {_shorten(failure_of(trial))}"


def _shorten(text: str) -> str:
    """At most `REASON` characters."""
    return text if len(text) <= REASON else f"{text[: REASON - 3]}..."


def best_table(study: optuna.Study, rows: int = 5) -> str:
    """The best complete trials as text: number, metrics, parameters, seconds.

    With several objectives these are all trials of the Pareto front.
    """
    several = len(study.directions) > 1
    trials = study.best_trials if several else trials_by_state(study).complete
    best = ranked(study, trials)[: None if several else rows]
    names = list(dict.fromkeys(name for trial in best for name in trial.params))
    table = [["trial", *_metrics(study), *names, "seconds"]]
    for trial in best:
        values = [f"{value:.6g}" for value in trial.values or []]
        cells = [_cell(trial.params.get(name, "-")) for name in names]
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        table.append([str(trial.number), *values, *cells, f"{seconds:.1f}"])
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    lines = ("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in table)
    return "\n".join(lines)


def _metrics(study: optuna.Study) -> list[str]:
    """The names of the objectives; a study that is not the sweeper's, or has none, gets numbers."""
    names: list[str] = study.user_attrs.get("identity", {}).get("metric", [])
    n = len(study.directions)
    return names or (["value"] if n == 1 else [f"value {k}" for k in range(n)])


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
