"""Bytes per second, smoothed over several seconds, and the time that is left."""

from __future__ import annotations

from collections import deque

#: Seconds between two samples; for how long they count, for the rate and for the time that is left; and how far apart
#: two are at least to say anything.
_EVERY, _SHORT, _LONG, _LEAST = 0.5, 10.0, 60.0, 3.0
#: Seconds at the beginning that do not count: the system takes the first megabytes into its buffers at once.
_BURST = 1.5


class Rate:
    """Samples of a growing number of bytes. Times in seconds; `moved_at` is when it last grew."""

    def __init__(self, moved: int = 0) -> None:
        self.moved_at: float | None = None
        self._moved = moved
        self._first: float | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float, moved: int) -> None:
        """Take the number as it is now."""
        if moved > self._moved:
            self._moved, self.moved_at = moved, now
            self._first = now if self._first is None else self._first
        if self._first is None or now < self._first + _BURST:
            return
        if not self._samples or now >= self._samples[-1][0] + _EVERY:
            self._samples.append((now, moved))
            while self._samples[0][0] < now - _LONG:
                self._samples.popleft()

    def per_second(self, seconds: float = _SHORT) -> float | None:
        """Bytes per second over the last seconds; None when that cannot be said yet."""
        if not self._samples:
            return None
        now, moved = self._samples[-1]
        then, before = next(sample for sample in self._samples if sample[0] >= now - seconds)
        return (moved - before) / (now - then) if now - then >= _LEAST else None

    def left(self, size: int) -> float | None:
        """Seconds that so many bytes will take; None when that cannot be said."""
        speed = self.per_second(_LONG)
        return size / speed if speed else None
