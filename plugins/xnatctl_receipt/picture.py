"""A picture of the series of an upload, as SVG: expected against found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_WIDTH: Final = 520
_LABEL: Final = 110
_NUMBER: Final = 100
_ROW: Final = 26
_BAR: Final = 14
_TOP: Final = 6
#: Characters of a label that fit.
_LETTERS: Final = 14


def picture_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Bars, one per series: the frame is what is expected, the fill what was found. Colours come from the page."""
    most = max((row["expected"] for row in rows), default=0) or 1
    height = _TOP * 2 + _ROW * len(rows)
    room = _WIDTH - _LABEL - _NUMBER
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"',
        'aria-label="Instances of each series: expected and found">',
    ]
    for number, row in enumerate(rows):
        top = _TOP + number * _ROW
        bar, middle = top + (_ROW - _BAR) // 2, top + _ROW // 2 + 4
        expected = max(2.0, room * row["expected"] / most)
        found = room * min(row["found"], row["expected"]) / most
        kind = "whole" if row["found"] == row["expected"] else "less"
        label = f"{row['series_number'] or '-'} {row['modality']}".strip()
        label = label if len(label) <= _LETTERS else f"{label[: _LETTERS - 3]}..."
        lines += [
            f"<g><title>{_text(row['series_instance_uid'])}</title>",
            f'<text x="{_LABEL - 10}" y="{middle}" text-anchor="end">{_text(label)}</text>',
            f'<rect class="found {kind}" x="{_LABEL}" y="{bar}" width="{found:.1f}" height="{_BAR}" />',
            f'<rect class="expected {kind}" x="{_LABEL}" y="{bar}" width="{expected:.1f}" height="{_BAR}" />',
            f'<text x="{_LABEL + expected + 10:.1f}" y="{middle}">{row["found"]} of {row["expected"]}</text></g>',
        ]
    return "\n".join([*lines, "</svg>"])


def _text(value: object) -> str:
    return escape("".join(letter for letter in str(value) if letter.isprintable()))
