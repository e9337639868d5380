"""Finds the frozen rows of a campaign by their numbers, without holding them in memory."""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator

from xnatctl.api import UsageError
from xnatctl_campaign.folder import Campaign, FrozenRow
from xnatctl_campaign.row import Row

#: A line of `rows.jsonl`, as `write_campaign` makes it: the number is first, and what the row holds is last.
_LINE = re.compile(
    rb'\{"row": \{"number": (\d+),.*\}, "files": (\d+), "bytes": (\d+), "offset": \d+, "length": \d+, '
    rb'"sha256": "\w*"\}\n?'
)
#: What such a line holds of a row of this kind. In a text, the quotes would be escaped.
_RESOURCE = b'"kind": "resource"'


class RowIndex:
    """The numbers of the frozen rows, ascending, with what each holds and where it lies: 32 bytes a row.

    `resources` are the numbers of the rows that attach files to a session or another place.
    """

    def __init__(self, campaign: Campaign) -> None:
        self._path = campaign.directory / "rows.jsonl"
        self._numbers, self._offsets, self._files, self._bytes = array("q"), array("q"), array("q"), array("q")
        self.resources: set[int] = set()
        self._scan()

    def _scan(self) -> None:
        offset = last = 0
        with open(self._path, "rb") as file:
            for line in file:
                number, files, size = _outline(line)
                if number <= last:
                    raise UsageError(
                        f"{self._path} names row {number} after row {last}.",
                        hint="The file was changed. Plan the manifest again into another folder.",
                    )
                for values, value in zip(self._columns, (number, offset, files, size), strict=True):
                    values.append(value)
                if _RESOURCE in line:
                    self.resources.add(number)
                offset, last = offset + len(line), number

    @property
    def _columns(self) -> tuple[array[int], ...]:
        return self._numbers, self._offsets, self._files, self._bytes

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.position(number) is not None

    def __getitem__(self, number: int) -> FrozenRow:
        with open(self._path, "rb") as file:
            file.seek(self._offsets[self._at(number)])
            return _frozen(file.readline())

    def position(self, number: int) -> int | None:
        """The position of a row among the others, from 0; None if it is not frozen."""
        at = bisect_left(self._numbers, number)
        return at if at < len(self._numbers) and self._numbers[at] == number else None

    @property
    def last(self) -> int:
        """The largest number; 0 without rows."""
        return self._numbers[-1] if self._numbers else 0

    def files(self, number: int) -> int:
        """The number of files of a row."""
        return self._files[self._at(number)]

    def bytes(self, number: int) -> int:
        """The size of a row."""
        return self._bytes[self._at(number)]

    def _at(self, number: int) -> int:
        if (at := self.position(number)) is None:
            raise KeyError(number)
        return at


def _outline(line: bytes) -> tuple[int, int, int]:
    """The number, the files and the bytes of a row."""
    if found := _LINE.fullmatch(line):
        return int(found[1]), int(found[2]), int(found[3])
    frozen = _frozen(line)
    return frozen.number, frozen.files, frozen.bytes


def _frozen(line: bytes) -> FrozenRow:
    document = json.loads(line)
    return FrozenRow(**{**document, "row": Row.from_document(document["row"])})
