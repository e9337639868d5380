"""Tables for people."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from xnatctl.api import Document, printable


class Table:
    """A header and rows, or the document's own drawing, and the summary lines below. Plain text without a terminal."""

    def render(self, document: Document, out: TextIO) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        terminal = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        # A pipe has no width: rows stay whole for grep and awk.
        width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS") or 10_000)
        console = Console(
            file=out,
            force_terminal=terminal,
            no_color=not terminal,
            width=width,
            highlight=False,
            emoji=False,
            markup=False,
        )
        if document.title:
            console.print(Text(printable(document.title), style="bold"))
        for line in document.drawing:
            console.print(Text(printable(line)), soft_wrap=True)
        if document.columns and document.rows and not document.drawing:
            table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
            for column in document.columns:
                table.add_column(Text(column.title), justify="right" if column.numeric else "left", overflow="fold")
            for row in document.rows:
                table.add_row(*(Text(_cell(row.get(column.key))) for column in document.columns))
            console.print(table)
        elif document.columns and not document.summary:
            console.print(Text("Nothing to show."))
        for line in document.summary:
            console.print(Text(printable(line)), soft_wrap=True)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))
