"""The rows and columns of a list that the user asked for: `--columns`, `--filter`, `--sort-by`, `--limit`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from xnatctl.cli.suggest import among
from xnatctl.errors import UsageError, XnatctlError
from xnatctl.model.document import Column, Document
from xnatctl.model.words import part_of

_CONDITION: Final = re.compile(r"\s*([^=!~<>]*[^=!~<>\s])\s*(!=|>=|<=|==?|~|>|<)(.*)", re.DOTALL)
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_DAY: Final = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}")  # DICOM writes no dashes (PS3.5 6.2, DA)
_TIME: Final = re.compile(_DAY.pattern + r"(?:[T ].*)?")
_SECONDS: Final = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}")
_FRACTION: Final = re.compile(r":[0-9]{2}\.[0-9]")
_MAY_BE_TIME: Final = re.compile(r"[0-9*?]")
_SUCH_A_TIME: Final = "a day or a time such as 2026-11-30"
_TRUTH: Final = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


@dataclass(frozen=True, slots=True)
class Condition:
    """One `--filter`. Text is compared without regard to case; `*` and `?` of `wanted` stand for any characters."""

    column: str
    operator: str
    wanted: str

    def holds(self, cell: Any, column: Column) -> bool:
        """Whether the value of a row satisfies it. Raises UsageError if `wanted` is not of the type of the column."""
        if column.time and self.operator != "~" and self.wanted and not _MAY_BE_TIME.search(self.wanted):
            raise self._of_another_type(_SUCH_A_TIME)
        number = self._number(cell, column)
        if self.operator in ("=", "!="):
            return self._equals(cell, number) is (self.operator == "=")
        if _is_missing(cell):
            return False
        if self.operator == "~":
            return self.wanted.casefold() in _text(cell).casefold()
        if (both := self._comparable(cell, number)) is None:
            if _moment(_text(cell)) is not None and not self.wanted[:1].isdigit():
                raise self._of_another_type(_SUCH_A_TIME)
            both = _natural(_text(cell)), _natural(self.wanted)
        found, wanted = both
        return _COMPARISONS[self.operator](found, wanted)

    def _number(self, cell: Any, column: Column) -> float | None:
        """`wanted` as a number; None where text is compared."""
        if not (column.numeric or isinstance(cell, int | float)) or self.operator == "~" or not self.wanted:
            return None
        try:
            return _TRUTH[self.wanted.casefold()] if isinstance(cell, bool) else _size_of(self.wanted)
        except (KeyError, ValueError):
            kind = "yes or no" if isinstance(cell, bool) else "a size such as 10MiB" if column.size else "a number"
            raise self._of_another_type(kind) from None

    def _of_another_type(self, kind: str) -> UsageError:
        return UsageError(f"--filter {self.column}{self.operator}{self.wanted}: the value is not {kind}.")

    def _equals(self, cell: Any, number: float | None) -> bool:
        if _is_missing(cell) or not self.wanted:
            return _is_missing(cell) and not self.wanted
        if (both := self._comparable(cell, number)) is not None:
            return bool(both[0] == both[1])
        pattern = re.escape(self.wanted.casefold()).replace(r"\*", ".*").replace(r"\?", ".")
        return re.fullmatch(pattern, _text(cell).casefold(), re.DOTALL) is not None

    def _comparable(self, cell: Any, number: float | None) -> tuple[Any, Any] | None:
        """The value and `wanted` as numbers, or as days or times as exact as `wanted`; None if they are text."""
        if number is not None and (found := _number_of(cell)) is not None:
            return found, number
        moment, wanted = _moment(_text(cell)), _moment(self.wanted)
        if moment is None or wanted is None:
            return None
        if _DAY.fullmatch(self.wanted):
            return moment.date(), wanted.date()
        if not _FRACTION.search(self.wanted):  # tables show no fraction
            moment = moment.replace(microsecond=0)
        return (moment, wanted) if _SECONDS.search(self.wanted) else (moment.replace(second=0), wanted)


@dataclass(frozen=True, slots=True)
class Listing:
    """What was asked for. Columns are named by key or title, in any case; `sort` is (column, descending)."""

    columns: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None

    def check(self, columns: Sequence[Column]) -> None:
        """Raise UsageError for a column that a list does not have, and for a value that is not of its type."""
        for name in (*self.columns, *(name for name, _ in self.sort)):
            find_column(columns, name)
        for condition in self.conditions:
            condition.holds(None, find_column(columns, condition.column))

    def of(self, document: Document) -> tuple[Document, str]:
        """The document with these rows and columns, and a line about rows that were left out; "" if none was.

        Raises UsageError like `check`.
        """
        if not document.columns:
            return document, ""
        self.check(document.columns)
        rows, columns = document.rows, document.columns
        matching = list(range(len(rows)))
        for condition in self.conditions:
            column = find_column(columns, condition.column)
            matching = [number for number in matching if condition.holds(rows[number].get(column.key), column)]
        kept = matching
        for name, descending in reversed(self.sort):
            key = find_column(columns, name).key
            kept = _sorted([(number, rows[number].get(key)) for number in kept], descending=descending)
        kept = kept[: self.limit]
        left_out = ((len(rows) - len(matching), "--filter"), (len(matching) - len(kept), "--limit"))
        reasons = ", ".join(f"{number:,} by {option}" for number, option in left_out if number)
        total = part_of(len(rows) - len(kept), len(rows), "row")
        line = f"Left out {total}: {reasons}." if reasons else ""
        if rows and not matching:
            line = f"No row matches --filter. {line}"
        return self._with_columns(self._with_rows(document, kept)), line

    def _with_rows(self, document: Document, kept: Sequence[int]) -> Document:
        """The document with the rows `kept`, in this order. Raises XnatctlError for one that is no list."""
        if not self.conditions and not self.sort and self.limit is None:
            return document
        rows, entries = document.rows, document.data.get(document.listed, ())
        if not len(entries) == len(document.identifiers) == len(rows):
            raise XnatctlError(f"In {document.schema} the rows, the identifiers and what `listed` names do not match.")
        shown = [rows[number] for number in kept]
        lines = document.summary if document.summarize is None else document.summarize(shown, len(rows))
        return replace(
            document,
            data={**document.data, document.listed: [entries[number] for number in kept]},
            rows=shown,
            summary=tuple(lines),
            identifiers=tuple(document.identifiers[number] for number in kept),
            drawing=(),
        )

    def _with_columns(self, document: Document) -> Document:
        """The document with the chosen columns, also in the list of `data`; without a list, `data` is the row."""
        if not self.columns:
            return document
        shown = [replace(find_column(document.columns, name), detail=False, drop=0) for name in self.columns]
        keys, rows = [column.key for column in shown], document.rows
        if document.listed:
            entries = zip(document.data[document.listed], rows, strict=True)
            data = {**document.data, document.listed: [_cells(keys, entry, row) for entry, row in entries]}
        else:
            data = {"schema": document.schema, **_cells(keys, document.data, *rows)}
        cells = [_cells(keys, row) for row in rows]
        return replace(document, data=data, rows=cells, columns=tuple(shown), drawing=())


def parse_condition(text: str) -> Condition:
    """`COLUMN OPERATOR VALUE`. Raises UsageError."""
    match = _CONDITION.fullmatch(text)
    if match is None or (match[2] == "=" and match[3].startswith("~")):  # =~ of other programs would hold for no row
        raise UsageError(
            f"--filter {text!r} is not a condition.",
            hint="Write COLUMN=VALUE in quotes, with one of the operators = != ~ < > <= >=.",
        )
    column, sign, wanted = match.groups()
    condition = Condition(column, sign.replace("==", "="), wanted.strip())
    if not condition.wanted and condition.operator not in ("=", "!="):
        raise UsageError(f"--filter {text!r} has no value.", hint="Only = and != take an empty value.")
    return condition


def parse_sort(text: str) -> tuple[str, bool]:
    """`COLUMN`, or `-COLUMN` and `COLUMN:desc` for descending order."""
    name, _, order = text.rpartition(":")
    if name and order.casefold() in ("asc", "desc"):
        return name, order.casefold() == "desc"
    return text.removeprefix("-"), text.startswith("-")


def find_column(columns: Sequence[Column], name: str) -> Column:
    """The column of this key, or else of this title. Raises UsageError with those that there are."""
    wanted = _plain(name)
    for names in ([_plain(column.key) for column in columns], [_plain(column.title) for column in columns]):
        if wanted and wanted in names:
            return columns[names.index(wanted)]
    known = list(dict.fromkeys(column.key for column in columns))
    near, all_of_them = among(wanted, known), f"There are: {', '.join(known)}."
    raise UsageError(f"There is no column {name!r}.", hint=near if near == all_of_them else f"{near} {all_of_them}")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def _cells(keys: Iterable[str], *entries: Mapping[str, Any]) -> dict[str, Any]:
    """The values of these keys, each from the first entry that has it."""
    return {key: next((entry[key] for entry in entries if key in entry), None) for key in keys}


def _sorted(cells: Sequence[tuple[int, Any]], *, descending: bool) -> list[int]:
    """Row numbers in the order of their values; those without a value come last, equal ones keep their order."""
    present = [(number, cell) for number, cell in cells if not _is_missing(cell)]
    keys = _keys([cell for _, cell in present])
    order = sorted(range(len(present)), key=keys.__getitem__, reverse=descending)
    return [*(present[place][0] for place in order), *(number for number, cell in cells if _is_missing(cell))]


def _keys(cells: Sequence[Any]) -> list[Any]:
    """What values are sorted by: numbers, times, or text in natural order."""
    for convert in (_number_of, lambda cell: _moment(_text(cell))):
        keys = [convert(cell) for cell in cells]
        if None not in keys:
            return keys
    return [_natural(_text(cell)) for cell in cells]


def _is_missing(cell: Any) -> bool:
    return cell is None or cell in ("", [])


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return ", ".join(map(str, cell)) if isinstance(cell, list | tuple) else str(cell)


def _number_of(cell: Any) -> float | None:
    """The number that a value is, or that its text is; yes and no are 1 and 0."""
    if isinstance(cell, int | float):
        return float(cell)
    text = str(cell).strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _size_of(text: str) -> float:
    """A number, or a size in bytes: `10MiB` is 10 * 1024 * 1024, `10MB` is 10,000,000. Raises ValueError."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if (size := _SIZE.fullmatch(text)) is None:
        raise ValueError(text)
    number, prefix, binary = size.groups()
    return float(number) * (1024.0 if binary else 1000.0) ** " kmgt".index(prefix.lower() or " ")


def _moment(text: str) -> datetime | None:
    """A time of ISO 8601; one without a zone is local time."""
    try:
        return datetime.fromisoformat(text).astimezone() if _TIME.fullmatch(text) else None
    except (ValueError, OverflowError, OSError):
        return None


def _natural(text: str) -> list[Any]:
    """Text whose digits are compared as numbers, so that scan 10 follows scan 9."""
    parts = re.split(r"([0-9]+)", text.casefold())
    return [(len(part.lstrip("0")), part.lstrip("0")) if place % 2 else part for place, part in enumerate(parts)]
