"""The colours of the words that begin a message, such as `Error:`."""

from __future__ import annotations

import re
from typing import Final

_BOLD: Final = "1"
#: Numbers of the palette of 256 colours, with a contrast of about 4 on black and on white.
_CODES: Final = {"Error": f"{_BOLD};38;5;160", "Warning": f"{_BOLD};38;5;130"}
_LABEL: Final = re.compile("(Error|Warning|Hint|More|Next|Note):(?=[ \n])")


def with_label(text: str) -> str:
    """The text with its first word in colours if that is a label: red errors, yellow warnings, others bold."""
    label = _LABEL.match(text)
    return text if label is None else f"\x1b[{_CODES.get(label[1], _BOLD)}m{label[0]}\x1b[0m{text[label.end() :]}"
