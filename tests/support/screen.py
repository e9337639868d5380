"""What a terminal shows after it was sent some bytes: the codes that rich sends, and no other."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[\??([0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """Lines of text; `feed` may be called with any pieces of a stream. `codes` are the letters of the codes so far."""

    def __init__(self) -> None:
        self._lines = [""]
        self._row = self._column = 0
        self._rest = ""
        self.codes: list[str] = []
        self.hidden = False

    def feed(self, text: str) -> None:
        text, self._rest = self._rest + text, ""
        if (cut := text.rfind("\x1b")) >= 0 and not _TOKEN.match(text, cut):
            text, self._rest = text[:cut], text[cut:]
        end = 0
        for found in _TOKEN.finditer(text):
            assert found.start() == end, f"unknown code: {text[end : end + 20]!r}"
            end = found.end()
            number, letter, control, words = found.groups()
            if letter:
                self._code(number, letter)
            elif control == "\r":
                self._column = 0
            elif control == "\n":
                self._row, self._column = self._row + 1, 0  # as a terminal driver makes CR LF of it
                self._lines += [""] * (self._row + 1 - len(self._lines))
            else:
                line = self._lines[self._row].ljust(self._column)
                self._lines[self._row] = line[: self._column] + words + line[self._column + len(words) :]
                self._column += len(words)
        assert end == len(text), f"unknown code: {text[end : end + 20]!r}"

    def _code(self, number: str, letter: str) -> None:
        self.codes.append(letter)
        if letter == "A":
            self._row -= int(number or 1)
            assert self._row >= 0
        elif letter == "K":
            assert number == "2"
            self._lines[self._row] = ""
        elif letter in "lh":
            self.hidden = letter == "l"
        else:
            assert letter == "m", letter

    @property
    def lines(self) -> list[str]:
        """What can be read, without blank lines."""
        return [line.rstrip() for line in self._lines if line.strip()]
