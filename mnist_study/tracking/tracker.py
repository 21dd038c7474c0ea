"""One tracked run: a listener that passes the events on, and a courier that carries them away."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, Self

from mnist_study.nn.training import Event
from mnist_study.tracking.outbox import Spool
from mnist_study.tracking.recorder import Recorder
from mnist_study.tracking.uploader import Courier

Status = Literal["FINISHED", "KILLED", "FAILED"]  # MLflow's
_STATES = {"FINISHED": "complete", "KILLED": "pruned", "FAILED": "failed"}  # of a trial
_log = logging.getLogger(__name__)


class Tracker(Protocol):
    """What a job needs of tracking."""

    @property
    def run_id(self) -> str | None:
        """The run's id in the store, once that is known."""

    @property
    def lost(self) -> OSError | None:
        """What a full disk said, if it cost an ended run some of its records."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None: ...

    def follow(self, events: Iterable[Event]) -> Iterator[Event]:
        """Write each event down, then hand it on."""

    def end(self, status: Status, reason: str | None = None) -> None:
        """Say how the run ended, where the exception that ends the block cannot tell."""

    def hint(self) -> str:
        """How to look at the run, in one line."""


class NoTracker:
    """`tracking=none`: nothing is kept and nothing imported."""

    run_id: str | None = None
    lost: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        pass

    def follow(self, events: Iterable[Event]) -> Iterator[Event]:
        """Hand the events on."""
        yield from events

    def end(self, status: Status, reason: str | None = None) -> None:
        """Nothing to say it to."""

    def hint(self) -> str:
        """What was kept: nothing."""
        return "not tracked (tracking=none)"


class RunTracker:
    """Records a run in its folder and has the records delivered."""

    def __init__(
        self,
        recorder: Recorder,
        deliver: Callable[[Spool], None],
        where: Callable[[Spool], str],
        leave: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """`deliver` sends what waits in the run's spool; `where` says how to look at the run.

        `leave`: takes over to wait for the last records, so that the end of the run need not.
        """
        self._recorder, self._where, self._leave = recorder, where, leave
        self._courier = Courier(recorder.spool, deliver)
        self._ended = self._warned = False
        self._refusal: OSError | None = None  # of a full disk, to take a file

    @property
    def run_id(self) -> str | None:
        """The run's id in the store, once that is known."""
        return self._recorder.spool.run_id

    @property
    def lost(self) -> OSError | None:
        """What a full disk said, if it cost an ended run some of its records."""
        return self._refusal or self._recorder.spool.lost

    def __enter__(self) -> Self:
        self._courier.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        status, state, reason = ending(error)
        self._end(status, state, reason)

    def follow(self, events: Iterable[Event]) -> Iterator[Event]:
        """Write each event down, then hand it on."""
        for event in events:
            self._safely(lambda: self._recorder.note(event))  # noqa: B023 - called at once
            yield event

    def end(self, status: Status, reason: str | None = None) -> None:
        """End the run now; the end of the `with` block has nothing to add then."""
        self._end(status, None, reason)

    def hint(self) -> str:
        """How to look at the run, in one line."""
        return self._where(self._recorder.spool)

    def _end(self, status: Status, state: str | None, reason: str | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._safely(self._recorder.picture)
        self._safely(lambda: self._recorder.end(status, ending_tags(status, reason, state)))
        self._courier.end()
        if self._leave and status != "FAILED":  # a failed trial must have its run when it is told
            self._leave(self._arrive)
        else:
            self._arrive()

    def _arrive(self) -> None:
        if not self._courier.finish():
            folder, why = self._recorder.spool.folder.parent, self._courier.trouble or "no answer"
            _log.warning(
                "this run is not, or not all, in MLflow (%s); send it later with: "
                "python -m mnist_study.tracking send %s",
                str(why).splitlines()[0],
                folder,
            )

    def _safely(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # noqa: BLE001 - a full disk or a bug in a figure must not cost the training
            if not self._warned:
                _log.warning("tracking lacks something of this run: %s", error)
            self._warned = True
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                self._refusal = error


def ending_tags(
    status: Status, reason: str | None = None, state: str | None = None
) -> dict[str, str]:
    """The tags that say how a run ended: `state`, and `failure` or `reason`."""
    tags = {"state": state or _STATES[status]}
    if reason:
        tags["failure" if status == "FAILED" else "reason"] = reason
    return tags


def ending(error: BaseException | None) -> tuple[Status, str, str | None]:
    """MLflow status, state of the trial and reason of a block that ended with `error`."""
    if error is None:
        return "FINISHED", "complete", None
    if type(error).__name__ == "TrialPruned":  # Optuna's, which need not be installed for a run
        return "KILLED", "pruned", str(error) or None
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "KILLED", "interrupted", type(error).__name__
    return "FAILED", "failed", f"{type(error).__name__}: {error}"
