"""A document: what a command has to say on stdout, before a formatter has drawn it.

`data` is the truth (JSON and YAML print it as it is); `columns` and `rows` are the same content as a table for people,
CSV, TSV and NDJSON; `drawing` are lines that people read in place of the table; `identifiers` is all that `-q` prints;
`summary` are the lines that a person reads at the end; `told` are the warnings that observers got before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal


class DocumentDetail(StrEnum):
    """How much of a document somebody will look at; what nobody does need not be made."""

    IDENTIFIERS = "identifiers"
    ROWS = "rows"  # with columns and summary
    WHOLE = "whole"  # `data` too
    STREAMED = (
        "streamed"  # `data` too, in which a list of many entries may be an iterator that makes them as it is read
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column: `key` into each row, `title` for the header (made of the key without one), numbers flush right.

    `size` = the values are bytes, which people read in larger units. `detail` = the table for people leaves it out.
    The table fits a terminal by two more: `fit` is what may be done to a value, "whole" nothing (identifiers), "cut"
    ends it with an ellipsis, "wrap" goes on below, between words. Columns are then left out, the highest `drop`
    first; those of 0 stay.
    """

    key: str
    title: str = ""
    numeric: bool = False  # flush right
    size: bool = False
    detail: bool = False
    fit: Literal["whole", "cut", "wrap"] = "whole"
    drop: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One document on stdout. `schema` names its shape and version, such as `xnatctl.sessions/1`."""

    schema: str
    data: Any  # all of it, as plain data: JSON and YAML print this
    title: str = ""  # above the table
    columns: tuple[Column, ...] = ()  # of the table, CSV, TSV and NDJSON
    rows: Sequence[Mapping[str, Any]] = ()  # the same content, one mapping a row
    identifiers: tuple[str, ...] = ()  # all that -q prints
    summary: tuple[str, ...] = ()  # lines that a person reads at the end
    drawing: tuple[str, ...] = ()  # lines that a person reads in place of the table
    told: frozenset[str] = frozenset()  # warnings that observers got already
