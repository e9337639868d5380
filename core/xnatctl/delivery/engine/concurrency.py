"""How many batches are in flight at once: as the user said, or adapted to the server.

Where files go one by one, the server's time for each decides, and more requests at once are faster until they are not.
So the number grows while that makes more files a second, and falls by half when the server shows that it is too much:
429, 5xx, refused or lost connections, or a burst of 400s, behind which XNAT hides its own trouble (xnat-import
3.2).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from xnatctl.delivery.engine.retry import COMMON
from xnatctl.model.outcome import FailureClass, ItemOutcome

#: What says at once that it is too much; of a 400 only several in one round do.
_TOO_MUCH = COMMON | {FailureClass.CONCURRENT}
_BURST = 3
#: How many batches per place in flight make a round; a shorter one is over before it can be measured.
_PER_PLACE = 3
_SHORTEST = 0.25
#: What must be gained for more to be worth it, and how many rounds pass before it is tried again.
_GAIN = 1.05
_REST = 20
_STEP = 2


class ConcurrencyLimiter:
    """The number of batches that may be in flight: `workers`, or between that and `most`. Used by every worker."""

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
        """As many as that, at this moment."""
        return self._limit

    def _new_round(self) -> None:
        self._done = self._doubtful = 0
        self._since = self._clock()

    def hear(self, outcomes: Iterable[ItemOutcome]) -> None:
        """What became of a batch."""
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
        """Half as many. Those that are in flight meet the same trouble, which is not held against the new number."""
        if self._deaf == 0:
            self._deaf = self._limit
            self._limit = max(1, self._limit // 2)
            self._resting, self._trying, self._doubling = _REST, False, False
        self._new_round()

    def _judge(self) -> None:
        """A round is over: more, as long as that pays; back to what was enough, and after a while another try.

        Twice as many at first, small steps once something was too much.
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
