"""What a person sees of a study: one live line on a terminal, plain lines elsewhere, a table."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

import optuna
from optuna.trial import FrozenTrial

from hydra_plugins.hydra_optuna_study._trials import Tally, ranked, tally

LINE_SECONDS = 5.0  # between plain lines, unless the study ends


class Watch:
    """While a launch blocks, a thread that reads the storage and tells how the study goes."""

    def __init__(
        self, study: optuna.Study, n_trials: int, changed: Callable[[optuna.Study], None]
    ) -> None:
        self.study, self.n_trials, self.changed = study, n_trials, changed
        self.live = sys.stdout.isatty()
        self.began = time.monotonic()
        self.before = tally(study).finished
        self.said, self.said_at = "", 0.0
        self.seen: tuple[int, ...] = ()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._loop, name="study-watch", daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop.set()
        self.thread.join()
        self._look(last=True)
        if self.live:
            print(flush=True)

    def _loop(self) -> None:
        while not self.stop.wait(1.0):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  # a storage that is away a moment is no end
                self._say(f"cannot read the study: {' '.join(str(error).split())}")

    def _look(self, last: bool = False) -> None:
        books = tally(self.study)
        seen = (books.taken, books.finished, books.replaced)
        if seen != self.seen:
            self.seen = seen
            self.changed(self.study)
        if self.live or last or time.monotonic() - self.said_at >= LINE_SECONDS:
            self._say(self.line(books))

    def _say(self, line: str) -> None:
        if line == self.said:
            return
        self.said, self.said_at = line, time.monotonic()
        if self.live:
            print(f"\r\x1b[K{line}", end="", flush=True)
        else:
            print(line, flush=True)

    def line(self, books: Tally) -> str:
        """Counts, best value so far and the time left at the pace of this run."""
        done = books.finished
        parts = [f"{self.study.study_name}: {done}/{self.n_trials} trials"]
        counts = {w: len(getattr(books, w)) for w in ("running", "pruned", "failed")}
        parts += [f"{count} {word}" for word, count in counts.items() if count]
        if books.complete:
            best = ranked(self.study, books.complete)[0]
            parts.append(f"best {show_values(best)} (trial {best.number})")
        if done > self.before and done < self.n_trials:
            pace = (time.monotonic() - self.began) / (done - self.before)
            parts.append(f"{show_seconds(pace * (self.n_trials - done))} left")
        return ", ".join(parts)


def show_values(trial: FrozenTrial) -> str:
    """The objective values, short."""
    return " ".join(f"{value:.6g}" for value in trial.values or [])


def show_seconds(seconds: float) -> str:
    """A duration as a person says it."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def best_table(study: optuna.Study, rows: int = 5) -> str:
    """The best complete trials, of several objectives the Pareto front: number, value, parameters,
    seconds.
    """
    several = len(study.directions) > 1
    trials = study.best_trials if several else tally(study).complete
    best = ranked(study, trials)[: None if several else rows]
    names = list(dict.fromkeys(name for trial in best for name in trial.params))
    table = [["trial", "value", *names, "seconds"]]
    for trial in best:
        cells = [_cell(trial.params.get(name, "-")) for name in names]
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        table.append([str(trial.number), show_values(trial), *cells, f"{seconds:.1f}"])
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    lines = ("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in table)
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
