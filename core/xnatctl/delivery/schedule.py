"""How a run waits for the server: one limit of time for all of its waiting."""

from __future__ import annotations

from collections.abc import Callable

from xnatctl.delivery.engine.retry import Pause
from xnatctl.errors import Interrupted

#: Seconds between looks at a row, growing to the second figure.
_POLL = (0.2, 5.0)
#: Seconds that are too few to wait for.
_INSTANT = 0.001
#: What a call gets in any case to reach the server, in seconds.
_LEAST_CALL = 2.0
#: How long a session may take to settle, in seconds; the server's own limit for one archiving is 600 (6.4).
WAIT = 1800.0


class PollSchedule:
    """How a run waits for the server: `limit` seconds for all of its phases together.

    The clock runs from the first call or wait on, and stands still while files are sent and compared (`suspend`).
    `pause` is cut short by an interrupt.
    """

    def __init__(self, *, pause: Pause, limit: float = WAIT) -> None:
        self.pause = pause
        self.limit = limit
        self._spent = 0.0
        self._since: float | None = None

    def suspend(self) -> None:
        """Stop the clock until the next call or wait."""
        if self._since is not None:
            self._spent += self.pause.now() - self._since
            self._since = None

    def left(self, limit: float | None = None) -> float:
        """Seconds until the time is over, 0 at least, and start the clock; `limit` takes the place of the run's."""
        now = self.pause.now()
        if self._since is None:
            self._since = now
        return max(0.0, (self.limit if limit is None else limit) - self._spent - (now - self._since))

    @property
    def call_timeout(self) -> float:
        """How long a call may take that the server answers when it is done; cut short, it goes on there."""
        return max(self.left(), _LEAST_CALL)

    def polls(self, limit: float | None = None) -> Callable[[], bool]:
        """A function that waits before the next look; False when the time is over. Raises Interrupted."""
        self.left()
        interval = _POLL[0]

        def wait() -> bool:
            nonlocal interval
            left = self.left(limit)
            if left < _INSTANT:
                return False
            if not self.pause.wait(min(interval, left)):
                raise Interrupted("Interrupted while the server was archiving; it goes on by itself.")
            interval = min(interval * 1.5, _POLL[1])
            return True

        return wait
