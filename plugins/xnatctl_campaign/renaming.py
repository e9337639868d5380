"""The table of `--map`: a CSV file of two columns, `old` and `new`, that renames subjects."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from xnatctl.api import Refused, UsageError
from xnatctl_campaign.manifest import read_bytes, unguarded
from xnatctl_campaign.records import NotCsv, Record, decoded, foreign_byte, plain, records

_COLUMNS = ("old", "new")
_SHAPE = "The first line is old,new, and each further line holds the two labels of a subject."
#: Most problems, and most unknown labels, in one message.
_MOST = 20


class Renaming:
    """New labels by old ones."""

    def __init__(self, path: Path, labels: dict[str, str]) -> None:
        self.path = path
        self._labels = labels

    def __getitem__(self, old: str) -> str:
        return self._labels[old]

    def check(self, labels: Collection[str]) -> None:
        """Raise Refused for labels that the table does not have, naming all at once."""
        unknown = sorted({*labels} - self._labels.keys())
        if unknown:
            raise Refused(
                f"{self.path} has no row for {_listed(unknown)}.",
                hint="Add them to the table. A subject that keeps its label has the same label in both columns.",
            )


def read_renaming(path: Path) -> Renaming:
    """Read the table. Raises UsageError with all that is wrong, and what `read_bytes` raises."""
    labels: dict[str, str] = {}
    problems: list[str] = []
    try:
        found = records(decoded(read_bytes(path)), _COLUMNS)
        header = next(found, Record(line=1, cells=()))
        names = [plain(cell) for cell in header.cells if cell.strip()]
        if sorted(names) != sorted(_COLUMNS):
            raise UsageError(f"{path} does not begin with the columns old,new.", hint=_SHAPE)
        for record in found:
            problem = _take(record, names, labels)
            if problem:
                problems.append(f"line {record.line}: {problem}")
    except NotCsv as problem:
        raise UsageError(f"{path}{f', line {problem.line}' if problem.line else ''}: {problem.message}") from None
    if problems:
        raise UsageError(f"{path} cannot be used: {_listed(problems, '; ')}.", hint=_SHAPE)
    return Renaming(path, labels)


def _take(record: Record, names: list[str], labels: dict[str, str]) -> str:
    """Add a record to the labels; returns what is wrong with it."""
    cells = [unguarded(cell).strip() for cell in record.cells]
    if record.problem or len(cells) < 2 or any(cells[2:]):
        return record.problem or f"{len(cells):,} values in place of two"
    if (byte := foreign_byte("".join(cells))) is not None:
        return f"{byte} is not UTF-8"
    old, new = cells[names.index("old")], cells[names.index("new")]
    if not old or not new:
        return f"{'old' if not old else 'new'} is empty"
    if old in labels:
        return f"{old!r} is there twice"
    labels[old] = new
    return ""


def _listed(texts: list[str], separator: str = ", ") -> str:
    shown = separator.join(texts[:_MOST])
    return shown if len(texts) <= _MOST else f"{shown}{separator}and {len(texts) - _MOST:,} more"
