"""How long a command waits for its store: for a database to the end, for a server not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from mnist_study.tracking.store import database_path

SHARE = 0.05  # of a search's time, which its end may wait for a server, within these bounds
BOUNDS = (5.0, 60.0)  # seconds
OPENING = 2.0  # seconds that it may wait for a server before its first trial, and for small things

T = TypeVar("T")


def patience(uri: str, elapsed: float) -> float | None:
    """Seconds that the end of a search of `elapsed` seconds waits for a store; None: to the end.

    A database on this machine gets everything; a server gets what it takes in time.
    """
    shortest, longest = BOUNDS
    return None if database_path(uri) else min(max(SHARE * elapsed, shortest), longest)


class Patience:
    """What a search may wait for its store, over all its studies."""

    def __init__(self, uri: str) -> None:
        self._uri, self._began = uri, time.monotonic()
        self._waited = 0.0  # seconds, so far
        self._slow = False  # whether a small thing took longer than OPENING
        self.searching = False  # whether trials ran: a command that only sends has all the time

    def briefly(self, work: Callable[[], T]) -> T:
        """What `work` returns, a small thing; it goes on behind the search if it takes long.

        Raises: TimeoutError, or what `work` raises.
        """
        try:
            return self._within(None if database_path(self._uri) else OPENING, work)
        except TimeoutError:
            self._slow = True
            raise

    def at_end(self, work: Callable[[], T], *, large: bool) -> T:
        """What `work` returns, the last thing to do; `large` work is not tried on a slow server.

        Raises: TimeoutError, or what `work` raises.
        """
        limit = patience(self._uri, time.monotonic() - self._began) if self.searching else None
        if limit is not None:
            limit = 0.0 if large and self._slow else max(limit - self._waited, 0.0)
        return self._within(limit, work)

    def _within(self, limit: float | None, work: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return work() if limit is None else within(limit, work)
        finally:
            self._waited += time.monotonic() - began


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns. When the time is up it goes on in a thread that dies with the process.

    Raises: TimeoutError, or what `work` raises.
    """
    returned: list[T] = []
    raised: list[BaseException] = []

    def target() -> None:
        try:
            returned.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below
            raised.append(error)

    thread = threading.Thread(target=target, name="within", daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not returned:
        raise TimeoutError("it is too slow")
    return returned[0]
