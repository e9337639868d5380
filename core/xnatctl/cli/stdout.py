"""Writes documents to stdout, long ones in pieces."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

from xnatctl.errors import XnatctlError
from xnatctl.operating_system.console import open_nothing
from xnatctl.redaction import Redactor


class StdoutWriter(io.StringIO):
    """A buffer that writes to stdout when it is large; `getvalue` returns the rest."""

    _MUCH = 1 << 18

    def __init__(self, begin: Callable[[], None], redactor: Redactor) -> None:
        """Call `begin` before the first write to stdout; `redactor` masks secrets."""
        super().__init__()
        self._begin = begin
        self._redactor = redactor

    def write(self, text: str, /) -> int:
        """Buffer text, and write it to stdout when there is much."""
        written = super().write(text)
        if self.tell() > self._MUCH:
            self._begin()
            # Hold back text that may be the beginning of a secret.
            text, kept = self._redactor.redact_output(self.getvalue()), max(512, self._redactor.longest())
            write_out(text[:-kept], self._redactor)
            self.seek(0)
            self.truncate()
            super().write(text[-kept:])
        return written


def write_out(text: str, redactor: Redactor) -> None:
    """Write to stdout; a closed pipe (`| head`) ends the output without an error.

    Raises XnatctlError when it cannot be written: a full disk.
    """
    try:
        sys.stdout.write(redactor.redact_output(text))
        sys.stdout.flush()
    except OSError as error:
        # Python would report the error again at exit, so redirect stdout to the null device.
        os.dup2(open_nothing(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise XnatctlError(f"Cannot write to standard output: {error.strerror}.") from error
