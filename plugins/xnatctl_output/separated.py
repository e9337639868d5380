"""CSV and TSV: the rows, with a header; safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from typing import Any, TextIO

from xnatctl.api import Document, printable

#: Cells that begin with these would be run as a formula by a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Separated:
    delimiter = ","

    def render(self, document: Document, out: TextIO) -> None:
        writer = csv.writer(out, delimiter=self.delimiter, lineterminator="\n")  # "$(...)" keeps a CR
        if document.columns:
            keys = [column.key for column in document.columns]
        else:
            keys = list(document.rows[0]) if document.rows else []
        writer.writerow(keys)
        for row in document.rows:
            writer.writerow([_cell(row.get(key)) for key in keys])


class Csv(_Separated):
    """Comma-separated, quoted as RFC 4180 says, in lines that end with LF."""


class Tsv(_Separated):
    """Tab-separated."""

    delimiter = "\t"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = printable(str(value))
    return f"'{text}" if text.startswith(_FORMULA) else text
