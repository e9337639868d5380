"""When a study is tried, and when again: on a change, or after a delay that grows.

A server that does not answer is not asked more often than its own delay allows, however many studies wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: The longest delay, as a multiple of the first one.
_MOST: Final = 64


class Delay:
    """A delay in seconds that doubles with each failure."""

    def __init__(self, first: float) -> None:
        self._first = first
        self.failures = 0
        self.due = 0.0  # of the monotonic clock

    def failed(self, now: float) -> float:
        """Count a failure; returns the delay that begins."""
        delay = self._first * min(1 << self.failures, _MOST)
        self.failures += 1
        self.due = now + delay
        return delay

    def succeeded(self) -> None:
        """Begin again with the first delay."""
        self.failures, self.due = 0, 0.0


@dataclass(slots=True)
class _Attempt:
    signature: str  # of the study when it was tried
    delay: Delay | None  # None: only a change is a reason to try again


class Attempts:
    """What was tried so far. `first` is the first delay in seconds."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._studies: dict[str, _Attempt] = {}
        self.server = Delay(first)

    def is_due(self, uid: str, signature: str, now: float) -> bool:
        """Whether a study should be tried now."""
        attempt = self._studies.get(uid)
        if attempt is None or attempt.signature != signature:
            return True
        return attempt.delay is not None and now >= attempt.delay.due

    def failures(self, uid: str) -> int:
        """How often a study has failed in a row: those that failed less often are tried first."""
        attempt = self._studies.get(uid)
        return attempt.delay.failures if attempt is not None and attempt.delay is not None else 0

    def settled(self, uid: str, signature: str) -> None:
        """A study needs nothing until it changes."""
        self._studies[uid] = _Attempt(signature, None)

    def failed(self, uid: str, signature: str, now: float) -> float:
        """A study failed; returns the seconds until it is tried again."""
        attempt = self._studies.get(uid)
        if attempt is None or attempt.delay is None or attempt.signature != signature:
            attempt = self._studies[uid] = _Attempt(signature, Delay(self._first))
        assert attempt.delay is not None
        return attempt.delay.failed(now)

    def forget(self, uids: set[str]) -> None:
        """Forget studies that are not in the inbox any more; `uids` are those that are."""
        self._studies = {uid: attempt for uid, attempt in self._studies.items() if uid in uids}
