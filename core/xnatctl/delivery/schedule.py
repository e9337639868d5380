"""The schedule of polling: one time limit for all waiting of a run."""

from __future__ import annotations

from collections.abc import Callable

from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import Interrupted

#: First and longest interval between polls of a row, in seconds.
_POLL = (0.2, 5.0)
#: A remaining time too short to wait for, in seconds.
_INSTANT = 0.001
#: Shortest time-out of a call, in seconds.
_LEAST_CALL = 2.0
#: Time limit of settling in seconds; the server's own limit for archiving is 600 (6.4).
WAIT = 1800.0


class PollSchedule:
    """Polls the server for at most `limit` seconds over all phases of a run.

    The clock starts with the first call or wait, and stops while files are sent and compared (`suspend`). An interrupt
    ends its waits.
    """

    def __init__(self, *, stop: StopToken, limit: float = WAIT) -> None:
        self.stop = stop
        self.limit = limit
        self._spent = 0.0
        self._since: float | None = None

    def suspend(self) -> None:
        """Stop the clock until the next call or wait."""
        if self._since is not None:
            self._spent += self.stop.now() - self._since
            self._since = None

    def left(self, limit: float | None = None) -> float:
        """Start the clock; returns the remaining seconds, at least 0. `limit` replaces that of the run."""
        now = self.stop.now()
        if self._since is None:
            self._since = now
        return max(0.0, (self.limit if limit is None else limit) - self._spent - (now - self._since))

    @property
    def call_timeout(self) -> float:
        """The time-out of a call that the server answers when done; after a time-out the server continues."""
        return max(self.left(), _LEAST_CALL)

    def polls(self, limit: float | None = None) -> Callable[[], bool]:
        """A function that waits before the next poll; False when the time is over. Raises Interrupted."""
        self.left()
        interval = _POLL[0]

        def wait() -> bool:
            nonlocal interval
            left = self.left(limit)
            if left < _INSTANT:
                return False
            if not self.stop.wait(min(interval, left)):
                raise Interrupted("Interrupted while the server was archiving; the server continues.")
            interval = min(interval * 1.5, _POLL[1])
            return True

        return wait
