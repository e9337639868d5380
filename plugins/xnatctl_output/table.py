"""Tables for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Literal, TextIO

from xnatctl.api import Column, Document, human_size, printable

#: `rich.box.SIMPLE_HEAD` in ASCII, for terminals and pipes of another encoding.
_ASCII_HEAD = "    \n    \n -- \n    \n    \n    \n    \n    \n"


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
            console.print(Text(_line(document.title), style="bold"))
        for line in document.drawing:
            console.print(Text(printable(line)), soft_wrap=True)
        columns = [column for column in document.columns if not column.detail]
        if columns and document.rows and not document.drawing:
            rule = box.SIMPLE_HEAD if _takes("─") else box.Box(_ASCII_HEAD, ascii=True)
            table = RichTable(box=rule, show_edge=False, pad_edge=False)
            cells = [[_cell(row.get(column.key), column) for column in columns] for row in document.rows]
            widths = _widths([column.title for column in columns], cells, console.width)
            for column, width in zip(columns, widths, strict=True):
                justify: Literal["left", "right"] = "right" if column.numeric else "left"
                table.add_column(Text(column.title), justify=justify, overflow="fold", width=width)
            for row in cells:
                table.add_row(*map(Text, row))
            console.print(table)
        elif document.columns and not document.summary:
            console.print(Text("Nothing to show."))
        for line in document.summary:
            console.print(Text(_line(line)), soft_wrap=True)


def _widths(titles: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int | None]:
    """Columns that fit: what is too wide is folded, but not the words of a header; none when that cannot be."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(titles, *rows, strict=True)]
    least = [max(map(cell_len, title.split()), default=1) for title in titles]
    excess = sum(widths) + 3 * (len(widths) - 1) - room
    while excess > 0:
        foldable = [index for index, width in enumerate(widths) if width > least[index]]
        if not foldable:
            return [None] * len(widths)
        widths[max(foldable, key=widths.__getitem__)] -= 1
        excess -= 1
    return list(widths)


def _line(text: str) -> str:
    """A line break in a name is shown: what follows it is not ours."""
    return printable(text).replace("\n", "\\x0a")


def _takes(text: str) -> bool:
    """Whether stdout can show it."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _cell(value: Any, column: Column) -> str:
    if value is None:
        return ""
    if column.size and isinstance(value, int):
        return human_size(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _line(str(value))
