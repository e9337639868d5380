"""A text stream that masks secrets: stderr while plugins run, which may print what they like."""

from __future__ import annotations

from typing import Any, TextIO

from xnatctl.redaction import Redactor


class MaskedStream:
    """A stream whose `write` masks secrets. Everything else is that of the stream."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream = stream
        self._redactor = redactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text with secrets masked; returns the number of characters of `text`."""
        self._stream.write(self._redactor.redact_output(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)
