"""Totals of a campaign: rows, files and bytes in each state, failures by code, and how fast it goes."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from datetime import datetime

from xnatctl_campaign.standing import RowStanding, Standing

#: Seconds before now in which rows that were proven count for the rate.
_WINDOW = 900.0
#: Rows and seconds that a rate needs at least.
_FEWEST, _SHORTEST = 3, 60.0
#: States of rows whose files are still to be delivered. Failed ones are not, until someone retries them.
_LEFT = (Standing.IN_WORK, Standing.NOT_TRIED, Standing.INTERRUPTED)


@dataclass(slots=True)
class StateTotal:
    """Rows of one state, with what they hold."""

    rows: int = 0
    files: int = 0
    bytes: int = 0


@dataclass(slots=True)
class FailureGroup:
    """The rows that failed with one code, and the reason of the first."""

    code: str
    reason: str
    hint: str
    rows: array[int] = field(default_factory=lambda: array("q"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How fast rows were proven in the last minutes, and the seconds that the rest takes at this rate."""

    rows_per_hour: float
    bytes_per_second: float
    seconds_left: float


class Totals:
    """The totals of rows. `now` is in seconds since the epoch; the rate is that of the minutes before."""

    def __init__(self, now: float) -> None:
        self.states = {standing: StateTotal() for standing in Standing}
        self.failures: dict[str, FailureGroup] = {}
        self.in_work: list[RowStanding] = []
        self.interrupted = array("q")
        self.verified = 0
        self._now = now
        self._recent = StateTotal()
        self._since = now

    @property
    def rows(self) -> int:
        """The number of rows that are part of the plan."""
        return sum(total.rows for standing, total in self.states.items() if standing is not Standing.EXCLUDED)

    @property
    def complete(self) -> bool:
        """Whether every row of the plan is proven."""
        return self.states[Standing.PROVEN].rows == self.rows

    @property
    def rate(self) -> Rate | None:
        """The rate, while rows are in work and enough was proven lately to say it; else None."""
        seconds, recent = self._now - self._since, self._recent
        if not self.in_work or recent.rows < _FEWEST or seconds < _SHORTEST or not recent.bytes:
            return None
        left = sum(self.states[standing].bytes for standing in _LEFT)
        return Rate(
            rows_per_hour=recent.rows / seconds * 3600,
            bytes_per_second=recent.bytes / seconds,
            seconds_left=left / recent.bytes * seconds,
        )

    def add(self, row: RowStanding) -> None:
        """Count a row."""
        total = self.states[row.standing]
        total.rows += 1
        total.files += row.files
        total.bytes += row.bytes
        match row.standing:
            case Standing.PROVEN:
                self._add_proven(row)
            case Standing.FAILED:
                hint = row.entry.hint if row.entry is not None else ""
                group = self.failures.setdefault(row.code, FailureGroup(row.code, row.reason, hint))
                group.rows.append(row.row.number)
            case Standing.INTERRUPTED:
                self.interrupted.append(row.row.number)
            case Standing.IN_WORK:
                self.in_work.append(row)

    def _add_proven(self, row: RowStanding) -> None:
        entry = row.entry
        if entry is None:
            return
        self.verified += entry.verified
        ended = seconds_of(entry.at)
        if ended is not None and self._now - _WINDOW <= ended <= self._now:
            self._recent.rows += 1
            self._recent.bytes += row.bytes
            self._since = min(self._since, max(ended - entry.seconds, self._now - _WINDOW))


def seconds_of(at: str) -> float | None:
    """The time of an entry, in seconds since the epoch; None if it is not a time."""
    try:
        return datetime.strptime(at, "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return None
