"""How fast a run is, and how long it will take."""

from __future__ import annotations

from collections import deque

#: Seconds over which the rate is averaged, and the least that means something.
_WINDOW, _LEAST = 30.0, 3.0


class Pace:
    """Samples of a growing number; times in seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()

    def sample(self, now: float, done: float) -> None:
        """Take the number as it is now."""
        self._samples.append((now, done))
        while self._samples[0][0] < now - _WINDOW:
            self._samples.popleft()

    def per_second(self) -> float | None:
        """The number per second; None when that cannot be said."""
        if not self._samples:
            return None
        (then, before), (now, done) = self._samples[0], self._samples[-1]
        return (done - before) / (now - then) if now - then >= _LEAST else None


def time_left(elapsed: float, done: float, left: float) -> float | None:
    """Seconds that are left if the rest takes as long as what was done; None when that cannot be said."""
    if elapsed < _LEAST or done <= 0:
        return None
    return elapsed * left / done
