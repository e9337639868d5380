"""The standard streams: their encoding and line ends, and whether a terminal obeys escape sequences."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


def prepare_output(stream: io.TextIOWrapper) -> None:
    """Make a standard stream accept any character. Raises OSError.

    Python writes UTF-8 to a console of Windows, but the code page of the country, and CRLF, to a file or a pipe there.
    That would be another document on every machine, so both are UTF-8 with LF, unless PYTHONIOENCODING says otherwise.
    """
    if sys.platform == "win32" and not stream.isatty():
        encoding = None if os.environ.get("PYTHONIOENCODING") else "utf-8"
        stream.reconfigure(encoding=encoding, errors="backslashreplace", newline="\n")
    else:
        stream.reconfigure(errors="backslashreplace")


def prepare_input(stream: io.TextIOWrapper) -> None:
    """Read a pipe or a file as UTF-8 on Windows as well, not in the code page of the country. Raises OSError.

    PowerShell may put a byte order mark before the text.
    """
    if sys.platform == "win32" and not stream.isatty() and not os.environ.get("PYTHONIOENCODING"):
        stream.reconfigure(encoding="utf-8-sig")


def obeys_escapes(stream: TextIO) -> bool:
    """True for a terminal that obeys escape sequences; on Windows its console is told to."""
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    if sys.platform != "win32":
        return True
    from xnatctl.operating_system import windows

    try:
        return windows.enable_colors(stream.fileno())
    except (OSError, ValueError):
        return False


def open_nothing() -> int:
    """A descriptor for reading and writing of the null device."""
    return os.open(os.devnull, os.O_RDWR)
