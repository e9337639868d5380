"""The rows that a command is about: `--only 1,5-8`."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from xnatctl.api import UsageError

_RANGE = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?")


class Selection:
    """Numbers of rows, as ranges that include both ends."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._ranges = tuple(ranges)

    @classmethod
    def parse(cls, text: str) -> Selection:
        """The rows of a text such as `1,5-8`. Raises UsageError."""
        ranges = []
        for part in text.split(","):
            found = _RANGE.fullmatch(part)
            first = int(found[1]) if found else 0
            last = int(found[2] or first) if found else 0
            if not 1 <= first <= last:
                raise UsageError(
                    f"--only takes numbers of rows, and {part.strip()!r} is none.",
                    hint="Write numbers and ranges, such as 1,5-8. Rows count from 1, without the header.",
                )
            ranges.append((first, last))
        return cls(ranges)

    def __contains__(self, row: int) -> bool:
        return any(first <= row <= last for first, last in self._ranges)

    def first_missing(self, rows: Sequence[int]) -> int | None:
        """The smallest number of the selection that is not among ascending rows; None if there is none."""
        for first, last in sorted(self._ranges):
            at = bisect_left(rows, first)
            for number in range(first, last + 1):
                if at >= len(rows) or rows[at] != number:
                    return number
                at += 1
        return None


def as_text(rows: Sequence[int], most: int = 0) -> str:
    """Ascending numbers of rows as `--only` takes them; after the first `most` ranges follows `...`."""
    ranges: list[list[int]] = []
    for row in rows:
        if ranges and row == ranges[-1][1] + 1:
            ranges[-1][1] = row
        elif most and len(ranges) == most:
            return f"{_joined(ranges)},..."
        else:
            ranges.append([row, row])
    return _joined(ranges)


def _joined(ranges: Sequence[Sequence[int]]) -> str:
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
