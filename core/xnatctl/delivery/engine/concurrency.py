"""How many batches are in flight at once: fixed by the user, or adapted to the server.

When files are sent one by one, the server's time per file dominates, and parallel requests help up to a point. So the
number grows while that increases the files per second, and is halved when the server is overloaded: 429, 5xx, refused
or lost connections, or a burst of 400s, which XNAT also returns for its own problems (xnat-import 3.2).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from xnatctl.delivery.engine.retry import COMMON
from xnatctl.model.outcome import FailureClass, ItemOutcome

#: Failures that show overload at once; a 400 does so only when repeated within a round.
_TOO_MUCH = COMMON | {FailureClass.CONCURRENT}
_BURST = 3
#: Batches per slot in a round; a shorter round is too brief to measure.
_PER_PLACE = 3
_SHORTEST = 0.25
#: The gain that justifies a higher number, and the rounds before the next attempt.
_GAIN = 1.05
_REST = 20
_STEP = 2


class ConcurrencyLimiter:
    """The number of batches that may be in flight: `workers`, or between `workers` and `most`. Thread-safe."""

    def __init__(self, workers: int, most: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = max(workers, most)
        self._adapts = most > workers
        self._clock = clock
        self._limit = workers
        self._lock = threading.Lock()
        self._best = 0.0
        self._trying = False
        self._doubling = True
        self._before = workers
        self._resting = 0
        self._deaf = 0
        self._new_round()

    @property
    def limit(self) -> int:
        """The current limit."""
        return self._limit

    def _new_round(self) -> None:
        self._done = self._doubtful = 0
        self._since = self._clock()

    def observe(self, outcomes: Iterable[ItemOutcome]) -> None:
        """Adapt the limit to the outcomes of a batch."""
        if not self._adapts:
            return
        failures = {outcome.failure for outcome in outcomes}
        with self._lock:
            self._done += 1
            self._deaf = max(0, self._deaf - 1)
            if failures & {FailureClass.UNPARSABLE, FailureClass.REFUSED}:
                self._doubtful += 1
            if failures & _TOO_MUCH or self._doubtful >= _BURST:
                self._fall()
            elif self._done >= _PER_PLACE * self._limit and self._clock() - self._since >= _SHORTEST:
                self._judge()

    def _fall(self) -> None:
        """Halve the limit. Failures of batches that are already in flight do not count against the new limit."""
        if self._deaf == 0:
            self._deaf = self._limit
            self._limit = max(1, self._limit // 2)
            self._resting, self._trying, self._doubling = _REST, False, False
        self._new_round()

    def _judge(self) -> None:
        """End a round: raise the limit while that helps, else return to the last good limit and retry later.

        The limit doubles at first, and grows in small steps after an overload.
        """
        rate = self._done / max(self._clock() - self._since, 1e-9)
        if self._resting:
            self._resting -= 1
        elif self._trying and rate <= self._best * _GAIN:
            self._limit, self._resting, self._trying, self._doubling = self._before, _REST, False, False
        else:
            self._best, self._before = rate, self._limit
            self._limit = min(self.most, 2 * self._limit if self._doubling else self._limit + _STEP)
            self._trying = self._limit > self._before
        self._new_round()
