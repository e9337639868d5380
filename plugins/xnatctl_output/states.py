"""The colours of words for states in tables. A colour never says more than its word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

#: Columns, by key, whose values are states.
STATE_COLUMNS: Final = frozenset({"state", "status", "result", "severity", "quality", "progress"})
#: Numbers of the palette of 256 colours. Each has a contrast of about 4 on black and on white, which the yellow and the
#: green that a terminal has a name for do not have.
GREEN, YELLOW, RED = 28, 130, 160
_WORDS: Final = {
    GREEN: "verified proven complete archived active ok passed ready usable logged_in",
    YELLOW: "accepted ambiguous may_have_arrived planned sending waiting warning incomplete interrupted held skipped "
    "excluded blocked "
    "unmet questionable partial in-work receiving building archiving deleting moving separating queued_archiving "
    "queued_building logged_out",
    RED: "failed missing error broken invalid rejected filtered changed differs conflict unreadable unusable refused "
    "incompatible clash",
}
_COLORS: Final = {word.replace("_", " "): color for color, words in _WORDS.items() for word in words.split()}
#: A state, with the number of files before it; what is denied is as good as unknown.
_STATE: Final = re.compile(
    rf"(?:[0-9,]+ )?\b(not[- ]\w+|{'|'.join(sorted(map(re.escape, _COLORS), key=len, reverse=True))})\b", re.IGNORECASE
)


def colored(text: str) -> Iterator[tuple[str, int | None]]:
    """The pieces of a text, each with its colour; None for those that are no state."""
    end = 0
    for match in _STATE.finditer(text.replace("_", " ")):
        yield text[end : match.start()], None
        yield text[match.start() : match.end()], _COLORS.get(match.group(1).lower(), YELLOW)
        end = match.end()
    yield text[end:], None


def escaped(text: str) -> str:
    """The text with the escape sequences of its colours."""
    return "".join(
        piece if color is None else f"\x1b[38;5;{color}m{piece}\x1b[39m" for piece, color in colored(text) if piece
    )
