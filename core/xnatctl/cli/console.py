"""Text for terminals: documents go to stdout, all else to stderr, without control characters."""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import suppress
from typing import TextIO

from xnatctl.cli.labels import with_label
from xnatctl.cli.wrap import wrapped
from xnatctl.operating_system.console import obeys_escapes, open_nothing, prepare_input, prepare_output
from xnatctl.redaction import Redactor

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BREAK = re.compile("\n(?!  )")


def printable(text: str) -> str:
    """Text for a terminal: control characters, lone surrogates and direction marks are escaped."""
    return _CONTROL.sub(lambda match: _escape(match.group()), text)


def one_line(text: str) -> str:
    """`printable` on one line, so that a name with a line break cannot pass for a message.

    Continuation lines of our own text are indented by two spaces.
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
    return obeys_escapes(stream)


def open_streams() -> None:
    """Open missing standard streams on the null device, and make text streams accept any character.

    Otherwise the next file or socket would get the number of the closed stream, and output of a library would be
    written to it. Characters that the encoding of a stream lacks are escaped.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            open_nothing()  # the lowest free number, which is this one
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - lives as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # a stream whose descriptor was redirected outside Python
                (prepare_output if mode == "w" else prepare_input)(stream)


def clear_line() -> None:
    """Begin a line on a terminal that has echoed ^C: without the echo, or below it if the terminal cannot erase."""
    try:
        if sys.stderr.isatty():
            print("\r\x1b[2K" if obeys_escapes(sys.stderr) else "\n", end="", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def say(text: str, redactor: Redactor, *, plain: bool) -> None:
    """Print lines on stderr, with a label in colours unless `plain` forbids it; never fails."""
    try:
        line = wrapped(printable(redactor.redact_output(text)), sys.stderr)
        if wants_color(sys.stderr, forbidden=plain):
            line = with_label(line)
        print(f"{line}\n", end="", file=sys.stderr, flush=True)  # one write: other threads print as well
    except (OSError, ValueError):
        return  # a closed stderr must not end an upload
