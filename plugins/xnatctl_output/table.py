"""Tables for people."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO

from xnatctl.api import Column, Document, human_size, human_time, printable, with_label, wrapped
from xnatctl_output.states import STATE_COLUMNS, colored, escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: `rich.box.SIMPLE_HEAD` in ASCII, for terminals and pipes of another encoding.
_ASCII_HEAD = "    \n    \n -- \n    \n    \n    \n    \n    \n"


#: A number of files before their state.
_COUNT = re.compile(r"\b\d{4,}(?= [a-z])")
#: Abbreviations, which a title made of a key writes in capitals.
_CAPITALS = {"id": "ID", "uid": "UID", "url": "URL"}
#: Cells between two columns.
_GAP = 3
#: Cells that a value keeps, where it may be cut or wrapped.
_LEAST = {"cut": 12, "wrap": 24}
#: The same where nothing more can be left out: a wrapped value keeps its words.
_NARROW = {"cut": 4, "wrap": 1}


class Table:
    """A header and rows, or the document's own drawing, and the summary lines below. Plain text without a terminal."""

    def render(self, document: Document, out: TextIO) -> None:
        if not sys.stdout.isatty():
            out.writelines(f"{line}\n" for line in _plain_lines(document))
            return
        from rich.console import Console
        from rich.text import Text

        console = Console(
            file=out,
            force_terminal=document.color,
            no_color=not document.color,
            highlight=False,
            emoji=False,
            markup=False,
        )
        if document.title:
            console.print(Text(_line(document.title), style="bold"), soft_wrap=True)
        for line in document.drawing:
            console.print(Text(wrapped(printable(line), sys.stdout)), soft_wrap=True)
        if (grid := _grid_of(document)) is not None:
            grid.draw(console, console.width)
        elif document.columns and not document.summary:
            console.print(Text("Nothing to show."))
        for line in document.summary:
            if not _is_known(line, document.announced):
                text = wrapped(_line(line), sys.stdout)
                console.print(Text.from_ansi(with_label(text)) if document.color else text, soft_wrap=True)


def _plain_lines(document: Document) -> Iterator[str]:
    """The lines for a pipe or a file, which has no width: rows stay whole for grep and awk."""
    if document.title:
        yield _line(document.title)
    for line in document.drawing:
        yield from printable(line).split("\n")
    if (grid := _grid_of(document)) is not None:
        yield from grid.plain_lines(color=document.color)
    elif document.columns and not document.summary:
        yield "Nothing to show."
    for line in document.summary:
        if not _is_known(line, document.announced):
            yield with_label(_line(line)) if document.color else _line(line)


def _grid_of(document: Document) -> _Grid | None:
    columns = [column for column in document.columns if not column.detail]
    return _Grid(columns, document.rows) if columns and document.rows and not document.drawing else None


class _Grid:
    """Titles and cells of the columns of a table, which is made to fit a terminal. Widths are in cells."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
        self._columns = columns
        self._titles = [column.title or _title(column.key) for column in columns]
        self._cells = [[_cell(row.get(column.key), column) for row in rows] for column in columns]
        self._full = [max(map(_width, (title, *found))) for title, found in zip(self._titles, self._cells, strict=True)]
        self._least = [self._least_of(number, _LEAST) for number in range(len(columns))]

    def _least_of(self, number: int, kept: Mapping[str, int]) -> int:
        """The width below which a column is not made; identifiers and the words of a title stay whole.

        `kept` is what a column that is cut or wrapped keeps.
        """
        column, found = self._columns[number], self._cells[number]
        words = self._titles[number].split()
        least = max(map(_width, found)) if column.fit == "whole" else min(self._full[number], kept[column.fit])
        if column.fit == "wrap":
            words += [word for cell in found for word in cell.split()]
        return max(least, *map(_width, words))

    def plain_lines(self, *, color: bool) -> Iterator[str]:
        """All columns, as wide as their values; every line has the same width."""
        rule = "─" if _takes("─") else "-"
        yield self._plain_line(self._titles, color=False)
        yield rule * _total(self._full)
        for cells in zip(*self._cells, strict=True):
            yield self._plain_line(cells, color=color)

    def _plain_line(self, cells: Sequence[str], *, color: bool) -> str:
        filled = []
        for column, cell, width in zip(self._columns, cells, self._full, strict=True):
            space = " " * (width - _width(cell))
            text = escaped(cell) if color and column.key in STATE_COLUMNS else cell
            filled.append(space + text if column.numeric else text + space)
        return (" " * _GAP).join(filled)

    def draw(self, console: Console, room: int) -> None:
        """Print it in `room` cells; a line that holds nothing but what must stay may be longer."""
        priority = [column.drop for column in self._columns]
        if _total(self._least) > room and len(self._cells[0]) == 1 and not any(priority):
            self._draw_record(console)
            return
        filled = [number for number, drop in enumerate(priority) if any(self._cells[number]) or not drop]
        shown = list(filled)
        while len(shown) > 1 and _total(self._least[number] for number in shown) > room:
            last = max(shown, key=priority.__getitem__)
            if not priority[last]:
                break
            shown.remove(last)
        if _total(self._least[number] for number in shown) > room:
            self._least = [self._least_of(number, _NARROW) for number in range(len(self._columns))]
        self._draw_table(console, self._widths(shown, room))
        if left_out := [self._titles[number] for number in filled if number not in shown]:
            text = f"Not shown: {', '.join(left_out)} (-o csv has all columns)."
            console.print(wrapped(text, sys.stdout), soft_wrap=True)

    def _widths(self, shown: Sequence[int], room: int) -> dict[int, int]:
        """What is widest and may be narrower is made so, until the columns fit."""
        widths = {number: self._full[number] for number in shown}
        for _ in range(max(0, _total(widths.values()) - room)):
            narrower = [number for number in shown if widths[number] > self._least[number]]
            if narrower:
                widths[max(narrower, key=widths.__getitem__)] -= 1
        return widths

    def _draw_table(self, console: Console, widths: Mapping[int, int]) -> None:
        """Print the columns that have a width."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        rule = box.SIMPLE_HEAD if _takes("─") else box.Box(_ASCII_HEAD, ascii=True)
        table = RichTable(box=rule, show_edge=False, pad_edge=False)
        for number in widths:
            justify: Literal["left", "right"] = "right" if self._columns[number].numeric else "left"
            table.add_column(Text(self._titles[number]), justify=justify, width=widths[number])
        cuts = [width if self._columns[number].fit == "cut" else None for number, width in widths.items()]
        for row in zip(*(self._cells[number] for number in widths), strict=True):
            cut = [_cut(cell, width) if width else cell for cell, width in zip(row, cuts, strict=True)]
            table.add_row(*map(self._text, widths, cut))
        console.width = _total(widths.values())
        console.print(table)

    def _text(self, number: int, cell: str) -> Text:
        """The text of a cell, in colours if it is a state."""
        from rich.text import Text

        if self._columns[number].key not in STATE_COLUMNS:
            return Text(cell)
        return Text.assemble(*((piece, "" if color is None else f"color({color})") for piece, color in colored(cell)))

    def _draw_record(self, console: Console) -> None:
        """A single row, of which nothing may be left out: a line for each value."""
        from rich.text import Text

        width = max(map(_width, self._titles))
        for number, (title, (cell,)) in enumerate(zip(self._titles, self._cells, strict=True)):
            if cell:
                head = f"{title}{' ' * (width - _width(title))}   "
                console.print(Text.assemble(head, self._text(number, cell)), soft_wrap=True)


def _width(text: str) -> int:
    """The columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)  # `_line` left no control character
    from rich.cells import cell_len

    return cell_len(text)


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + _GAP * (len(found) - 1)


def _title(key: str) -> str:
    """`scan_id` is `Scan ID`."""
    text = " ".join(_CAPITALS.get(word, word) for word in key.split("_"))
    return f"{text[:1].upper()}{text[1:]}"


def _cut(text: str, width: int) -> str:
    """A text in so many cells, with an ellipsis where it is longer."""
    from rich.cells import set_cell_size

    if _width(text) <= width:
        return text
    end = "…" if _takes("…") else "..."
    return set_cell_size(text, width - len(end)).rstrip() + end


def _is_known(line: str, announced: frozenset[str]) -> bool:
    """Whether a line is a warning that stderr showed.

    One that is about a session of several begins with its label; which sessions share one was not shown.
    """
    text = line.removeprefix("Warning: ")
    label, _, rest = text.partition(": ")
    return text != line and (text in announced or (rest in announced and ", " not in label))


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
    if column.time:
        return _line(human_time(str(value)))
    if column.count and (isinstance(value, int) or str(value).isdecimal()):
        return f"{int(value):,}"
    text = _line(str(value))
    return _COUNT.sub(lambda count: f"{int(count[0]):,}", text) if column.key in STATE_COLUMNS else text
