"""Stdout holds documents, stderr everything else; nothing printed carries a control character."""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import suppress
from typing import TextIO

from xnatctl.cli.wrap import wrapped
from xnatctl.redaction import Redactor

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BREAK = re.compile("\n(?!  )")


def printable(text: str) -> str:
    """Text for a terminal: control characters, lone surrogates and direction marks are shown, not obeyed."""
    return _CONTROL.sub(lambda match: _escape(match.group()), text)


def one_line(text: str) -> str:
    """`printable`, and one line: a name with a line break in it must not say something of its own.

    What goes on in a further line of ours is indented by two spaces.
    """
    return _BREAK.sub(r"\\x0a", printable(text))


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def wants_color(stream: TextIO, *, forbidden: bool) -> bool:
    """NO_COLOR and --no-color win, then FORCE_COLOR, then whether it is a terminal that can."""
    if forbidden or os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def open_streams() -> None:
    """Give this process the standard streams that it lacks, and text streams that take any character.

    Whoever closed one does not want it. Without this the next file or socket would get its number, and what a library
    prints would end up there. A terminal or pipe of another encoding gets escapes instead of a failure.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - lives as long as the process
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # a stream that was put on another file behind Python's back
                stream.reconfigure(errors="backslashreplace")


def say(text: str, redactor: Redactor) -> None:
    """One or more lines for people, on stderr; never fails."""
    try:
        print(wrapped(printable(redactor.redact_output(text)), sys.stderr), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return  # a closed stderr must not end an upload
