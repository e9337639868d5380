"""The batches of one stage that wait for a worker."""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from xnatctl.delivery.engine.concurrency import ConcurrencyLimiter
from xnatctl.delivery.journal.journal import Journal
from xnatctl.model.outcome import ItemOutcome
from xnatctl.model.plan import Batch, UploadItem


class _Waiting:
    """Batches as the places of their items in the journal, in the order of putting; made when they are taken."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._places = array("I")
        self._ends = array("I")
        # A batch of one is called like its item, as a rule.
        self._ids: dict[int, str] = {}
        self._next = 0
        #: Those that were taken before their turn.
        self._early: set[int] = set()
        self._strangers = False

    def __len__(self) -> int:
        return len(self._ends) - self._next - len(self._early)

    def _far(self) -> int:
        """The number of a batch in the middle of the longest stretch from which none was taken."""
        taken = sorted({self._next - 1, *self._early, len(self._ends)})
        _, before, after = max((after - before, before, after) for before, after in pairwise(taken))
        return (before + after) // 2

    def put(self, batch: Batch) -> None:
        """Add a batch."""
        for item in batch.items:
            place = self._journal.number(item)
            if place is None:
                self._strangers = True
                return
            self._places.append(place)
        if len(batch.items) != 1 or batch.id != batch.items[0].sop_instance_uid:
            self._ids[len(self._ends)] = batch.id
        self._ends.append(len(self._places))

    def holds(self, items: Sequence[UploadItem]) -> bool:
        """True when each of the items is in exactly one batch, and nothing else is."""
        times = bytearray(max(self._places, default=-1) + 1)
        for place in self._places:
            if times[place]:
                return False
            times[place] = 1
        left = len(self._places)
        if left == len(items) == self._journal.total:
            return not self._strangers  # there are no others
        for item in items:
            place_of = self._journal.number(item)
            if place_of is None or place_of >= len(times) or not times[place_of]:
                return False
            times[place_of] = 0
            left -= 1
        return not left and not self._strangers

    def take(self, *, far: bool = False) -> Batch:
        """The next batch, or one from far behind it."""
        number = self._far() if far else self._next
        self._early.add(number)
        while self._next in self._early:
            self._early.remove(self._next)
            self._next += 1
        begin = self._ends[number - 1] if number else 0
        items = tuple(self._journal.numbered(self._places[begin : self._ends[number]]))
        return Batch(id=self._ids.pop(number, "") or items[0].sop_instance_uid, items=items)


class BatchQueue:
    """Batches to hand out; one at a time until `anchored` is true, then as many as `limiter` says.

    While `probing` is true, batches from elsewhere in the queue come first.
    """

    def __init__(
        self,
        journal: Journal,
        anchored: Callable[[], bool],
        limiter: ConcurrencyLimiter,
        probing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._journal = journal
        self._anchored = anchored
        self._probing = probing
        self._limiter = limiter
        self._back: deque[Batch] = deque()
        self._waiting = _Waiting(journal)
        self._in_flight = 0
        self._stopped = False
        self.stopped_by: ItemOutcome | None = None
        self._changed = threading.Condition()

    def __len__(self) -> int:
        with self._changed:
            return len(self._back) + len(self._waiting)

    def fill(self, items: Sequence[UploadItem], batches: Iterable[Batch]) -> bool:
        """Take batches in; False when they do not hold every one of the items exactly once."""
        waiting = _Waiting(self._journal)
        for batch in batches:
            waiting.put(batch)
        whole = waiting.holds(items)
        with self._changed:
            self._waiting = waiting
        return whole

    def add_first(self, batches: Sequence[Batch]) -> None:
        """Batches that go before all others."""
        with self._changed:
            self._back.extendleft(reversed(batches))
            self._changed.notify_all()

    def take(self, rest: Callable[[], None]) -> Batch | None:
        """The next batch; None when there is none and none can come back (a half of one in flight).

        Calls `rest` before it waits.
        """
        rested = False
        while True:
            with self._changed:
                if self._stopped or (not self._any and self._in_flight == 0):
                    self._changed.notify_all()
                    return None
                if self._any and (self._in_flight == 0 or (self._anchored() and self._room > 0)):
                    self._in_flight += 1
                    probing = bool(self._waiting) and self._probing()
                    return self._back.popleft() if self._back and not probing else self._waiting.take(far=probing)
                if rested:
                    self._changed.wait()
                    continue
            rest()
            rested = True

    @property
    def has_others(self) -> bool:
        """Whether batches wait that were never handed out, nor a part of them."""
        with self._changed:
            return bool(self._waiting)

    @property
    def _any(self) -> bool:
        return bool(self._back or self._waiting)

    @property
    def _room(self) -> int:
        """How many more may be in flight."""
        return self._limiter.limit - self._in_flight

    @property
    def stopped(self) -> bool:
        """True when nothing more is to be sent."""
        with self._changed:
            return self._stopped

    def done(self) -> None:
        """A batch is done; its worker takes the next one or leaves."""
        with self._changed:
            self._in_flight -= 1
            if self._in_flight == 0 or not self._any:
                self._changed.notify_all()
            else:  # one place is for the worker itself; the others sleep on where there is none for them
                self._changed.notify(max(0, self._room - 1))

    def stop(self, why: ItemOutcome | None) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._stopped = True
            self.stopped_by = self.stopped_by or why
            self._changed.notify_all()
