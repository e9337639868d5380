"""Writing documents on stdout, in pieces where they are long."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

from xnatctl.errors import XnatctlError
from xnatctl.redaction import Redactor


class Pieces(io.StringIO):
    """What is written to it goes to stdout as soon as it is much; `getvalue` is the rest."""

    _MUCH = 1 << 18

    def __init__(self, begin: Callable[[], None], redactor: Redactor) -> None:
        """`begin` is called before anything is written to stdout, `redactor` masks what is."""
        super().__init__()
        self._begin = begin
        self._redactor = redactor

    def write(self, text: str, /) -> int:
        """Take some text."""
        written = super().write(text)
        if self.tell() > self._MUCH:
            self._begin()
            # A secret that goes on in the next piece is not printed by halves.
            text, kept = self._redactor.redact_output(self.getvalue()), max(512, self._redactor.longest())
            write_out(text[:-kept], self._redactor)
            self.seek(0)
            self.truncate()
            super().write(text[-kept:])
        return written


def write_out(text: str, redactor: Redactor) -> None:
    """Write to stdout; a reader that has gone (`| head`) ends the output in silence.

    Raises XnatctlError when it cannot be written: a full disk.
    """
    try:
        sys.stdout.write(redactor.redact_output(text))
        sys.stdout.flush()
    except OSError as error:
        # Python would complain once more at exit; give it somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise XnatctlError(f"Cannot write to standard output: {error.strerror}.") from error
