"""A picture of the series of an upload, as SVG: expected against found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_WIDTH: Final = 520
_LABEL: Final = 110
_NUMBER: Final = 110
#: Room for the number and the words "accepted, not compared".
_WORDS: Final = 230
_ROW: Final = 26
_BAR: Final = 14
_TOP: Final = 6
#: Characters of a label that fit.
_LETTERS: Final = 14


def picture_of(rows: Sequence[Mapping[str, Any]], *, compared: bool, not_readable: int) -> str:
    """Bars, one per series: the frame is what is expected, the fill what was found. Colours come from the page.

    Where the server was not compared, the fill is what it accepted. A last bar shows the files that cannot be read.
    """
    most = max([not_readable, *(row["expected"] for row in rows)]) or 1
    height = _TOP * 2 + _ROW * (len(rows) + bool(not_readable))
    room = _WIDTH - _LABEL - (_NUMBER if compared else _WORDS)
    arrived = "found" if compared else "accepted, not compared"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"',
        f'aria-label="Instances of each series: expected and {arrived}">',
    ]
    for number, row in enumerate(rows):
        top = _TOP + number * _ROW
        bar, middle = top + (_ROW - _BAR) // 2, top + _ROW // 2 + 4
        expected = max(2.0, room * row["expected"] / most)
        found = room * min(row["found"], row["expected"]) / most
        whole = row["found"] == row["expected"]
        kind = ("whole" if whole else "less") if compared else "accepted"
        said = f"{row['found']} of {row['expected']}" + ("" if compared else f" {arrived}")
        label = f"{row['series_number'] or '-'} {row['modality']}".strip()
        label = label if len(label) <= _LETTERS else f"{label[: _LETTERS - 3]}..."
        lines += [
            f"<g><title>{_text(row['series_instance_uid'])}</title>",
            f'<text x="{_LABEL - 10}" y="{middle}" text-anchor="end">{_text(label)}</text>',
            f'<rect class="found {kind}" x="{_LABEL}" y="{bar}" width="{found:.1f}" height="{_BAR}" />',
            f'<rect class="expected {kind}" x="{_LABEL}" y="{bar}" width="{expected:.1f}" height="{_BAR}" />',
            f'<text x="{_LABEL + expected + 10:.1f}" y="{middle}">{said}</text></g>',
        ]
    if not_readable:
        lines += _not_readable(_TOP + len(rows) * _ROW, room * not_readable / most, not_readable)
    return "\n".join([*lines, "</svg>"])


def _not_readable(top: int, wide: float, number: int) -> list[str]:
    """The bar of the files that cannot be read, whose series are not known."""
    wide, bar, middle = max(2.0, wide), top + (_ROW - _BAR) // 2, top + _ROW // 2 + 4
    return [
        f'<g><text x="{_LABEL - 10}" y="{middle}" text-anchor="end">other files</text>',
        f'<rect class="expected less" x="{_LABEL}" y="{bar}" width="{wide:.1f}" height="{_BAR}" />',
        f'<text x="{_LABEL + wide + 10:.1f}" y="{middle}">not readable: {number}</text></g>',
    ]


def _text(value: object) -> str:
    return escape("".join(letter for letter in str(value) if letter.isprintable()))
