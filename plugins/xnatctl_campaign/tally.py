"""Counts what is done of the rows of a run."""

from __future__ import annotations

from collections.abc import Iterable

from xnatctl.api import RowResult
from xnatctl_campaign.rows import RowIndex
from xnatctl_campaign.worker_link import Progress


class Tally:
    """Rows, files and bytes of one run. `before` counts rows that were proven before; sizes are in bytes.

    `failed` and `interrupted` hold results by row; `held` are rows that other workers hold.
    """

    def __init__(self, index: RowIndex, rows: Iterable[int]) -> None:
        self.index = index
        self.rows = self.files = self.bytes = 0
        for row in rows:
            self.add(row)
        self.before = self.proven = 0
        self.files_before = self.bytes_before = self.files_done = self.bytes_done = 0
        self.failed: dict[int, RowResult] = {}
        self.interrupted: dict[int, RowResult] = {}
        self.in_work: dict[int, Progress] = {}
        self.held: set[int] = set()

    @property
    def left(self) -> int:
        """Rows that were not tried, and those in work."""
        return self.rows - self.before - self.proven - len(self.failed) - len(self.interrupted)

    @property
    def bytes_now(self) -> int:
        """What is delivered, with what was sent of the rows in work."""
        return self.bytes_done + sum(
            min(progress.bytes, self.index.bytes(row)) for row, progress in list(self.in_work.items())
        )

    @property
    def files_now(self) -> int:
        """The same in files."""
        return self.files_done + sum(
            min(progress.files, self.index.files(row)) for row, progress in list(self.in_work.items())
        )

    def add(self, row: int) -> None:
        """Count a row as part of the run."""
        self.rows += 1
        self.files += self.index.files(row)
        self.bytes += self.index.bytes(row)

    def passed(self, row: int) -> None:
        """Count a row that is proven already."""
        self.held.discard(row)
        self.before += 1
        self.files_before += self.index.files(row)
        self.bytes_before += self.index.bytes(row)

    def works(self, progress: Progress) -> None:
        """Take what a row in work does."""
        self.in_work[progress.row] = progress

    def ended(self, result: RowResult) -> None:
        """Count the result of a row."""
        row = result.row
        self.in_work.pop(row, None)
        self.held.discard(row)
        match result.state:
            case "proven":
                self.proven += 1
                self.files_done += self.index.files(row)
                self.bytes_done += self.index.bytes(row)
            case "held":
                self.held.add(row)
            case "interrupted":
                self.interrupted[row] = result
            case _:
                self.failed[row] = result
