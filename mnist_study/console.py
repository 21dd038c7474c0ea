"""What a person at the terminal sees of one run: its progress, then a small table."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from tqdm import tqdm

from mnist_study.nn.training import EpochEnded, Event, Finished, Score


def shown(events: Iterator[Event], epochs: int) -> Iterator[Event]:
    """Pass events on; show each epoch as a bar on a terminal, as a plain line elsewhere."""
    terminal = sys.stderr.isatty()
    with tqdm(total=epochs, unit="epoch", disable=not terminal) as bar:
        every = max(1, epochs // 20)  # a log of 3000 epochs is not read
        for event in events:
            if isinstance(event, EpochEnded):
                bar.set_postfix_str(_scores(event.scores), refresh=False)
                bar.update()
                if not terminal and (event.epoch % every == 0 or event.epoch == epochs):
                    print(f"epoch {event.epoch}/{epochs}  {_scores(event.scores)}", flush=True)
            yield event


def table(finished: Finished) -> str:
    """The final scores, a column a set, and the speed."""
    names = list(finished.scores)
    rows = [
        "".join(f"{word:>12}" for word in ("", *names)),
        f"{'accuracy':>12}" + "".join(f"{finished.scores[n].accuracy:>12.2%}" for n in names),
        f"{'loss':>12}" + "".join(f"{finished.scores[n].loss:>12.4f}" for n in names),
    ]
    seconds, speed = finished.train_seconds, finished.images_per_second
    rows.append(f"{seconds:.1f} s of training, {speed:,.0f} images per second")
    return "\n".join(rows)


def _scores(scores: Mapping[str, Score]) -> str:
    return "  ".join(
        f"{name} {score.accuracy:.2%} (loss {score.loss:.4f})" for name, score in scores.items()
    )
