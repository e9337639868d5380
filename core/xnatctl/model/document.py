"""A document: the result of a command for stdout, before a formatter renders it.

`data` is the complete content (JSON and YAML print it unchanged). `columns` and `rows` are the same content as a table
for people, CSV, TSV and NDJSON. `drawing` is lines for people in place of the table, `summary` is lines for people
after it. `identifiers` is the output of `-q`. `announced` is the warnings that observers got before; core
sets it, and `color`. `listed` names the
list in `data` that the rows show; its entries and the identifiers are in their order. The options of lists need it.
`summarize` makes the summary of a part of the rows, so that the lines say nothing about a row that is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal


class DocumentDetail(StrEnum):
    """How much of a document a formatter needs; the rest is not computed."""

    IDENTIFIERS = "identifiers"
    ROWS = "rows"  # with columns and summary
    WHOLE = "whole"  # `data` too
    STREAMED = "streamed"  # `data` too, where a long list may be an iterator that makes its entries as it is read


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column: `key` into each row, `title` for the header (derived from the key if empty).

    `count`: the values count something, and people see them with separators (`1,001`). `size`: the values are bytes,
    which are shown in larger units. `time`: they are ISO 8601 times or DICOM dates, which the table shows as
    `human_time` does. `detail`: the table for people omits the column.
    `fit` is how a value is made to fit a terminal: "whole" not at all (identifiers), "cut" with an ellipsis, "wrap" by
    line breaks between words. If that is not enough, columns are omitted, the highest `drop` first; 0 is never omitted.
    """

    key: str
    title: str = ""
    numeric: bool = False  # flush right
    count: bool = False
    size: bool = False
    time: bool = False
    detail: bool = False
    fit: Literal["whole", "cut", "wrap"] = "whole"
    drop: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One document on stdout. `schema` names its shape and version, such as `xnatctl.sessions/1`."""

    schema: str
    data: Any  # the complete content, as plain data: JSON and YAML print this
    title: str = ""  # above the table
    columns: tuple[Column, ...] = ()  # of the table, CSV, TSV and NDJSON
    rows: Sequence[Mapping[str, Any]] = ()  # the same content, one mapping per row
    identifiers: tuple[str, ...] = ()  # the output of -q
    summary: tuple[str, ...] = ()  # lines for people, after the table
    #: Makes `summary` again, from the rows that `--filter` and `--limit` keep and the number of all.
    summarize: Callable[[Sequence[Mapping[str, Any]], int], Iterable[str]] | None = None
    drawing: tuple[str, ...] = ()  # lines for people, in place of the table
    listed: str = ""  # the key of the list in `data` that the rows show
    announced: frozenset[str] = frozenset()  # warnings that observers got before
    color: bool = False  # whether stdout may be coloured
