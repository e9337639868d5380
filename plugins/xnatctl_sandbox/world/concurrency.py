"""How much is at work at once, which tests of load limits read. Measuring changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from xnatctl_sandbox.world.records import DirectRow, PrearchiveRow


class Gauge:
    """The number of different things at work, and the largest number since the start or the last reset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work: set[Hashable] = set()
        self._peak = 0

    def begin(self, key: Hashable) -> None:
        """Count this from now on; once, however often it begins."""
        with self._lock:
            self._at_work.add(key)
            self._peak = max(self._peak, len(self._at_work))

    def end(self, key: Hashable) -> None:
        """Count this no longer."""
        with self._lock:
            self._at_work.discard(key)

    @contextmanager
    def during(self, key: Hashable) -> Iterator[None]:
        """Count this within a block."""
        self.begin(key)
        try:
            yield
        finally:
            self.end(key)

    def reset(self) -> None:
        """Forget the peak; what is at work now counts."""
        with self._lock:
            self._peak = len(self._at_work)

    def read(self) -> dict[str, int]:
        """`now` and `peak`."""
        with self._lock:
            return {"now": len(self._at_work), "peak": self._peak}


@dataclass
class Concurrency:
    """What a server has to do at once.

    `requests`: from the first byte of a request to the last one of its handler; those of the control API do not count.
    `sessions`: from the first object of a session until it is built or removed, and while it is archived.
    `archiving`: while the archiver has a session.
    """

    requests: Gauge = field(default_factory=Gauge)
    sessions: Gauge = field(default_factory=Gauge)
    archiving: Gauge = field(default_factory=Gauge)

    def reset(self) -> None:
        """Forget the peaks."""
        for gauge in (self.requests, self.sessions, self.archiving):
            gauge.reset()

    def read(self) -> dict[str, dict[str, int]]:
        """The gauges by name."""
        return {name: getattr(self, name).read() for name in ("requests", "sessions", "archiving")}

    @contextmanager
    def archives(self, row: PrearchiveRow | DirectRow) -> Iterator[None]:
        """The archiver has this session within a block."""
        key = session_key(row)
        with self.sessions.during(key), self.archiving.during(key):
            yield


def session_key(row: PrearchiveRow | DirectRow) -> Hashable:
    """What tells sessions apart while they are received: project, study and label."""
    return row.project, row.tag, row.name
