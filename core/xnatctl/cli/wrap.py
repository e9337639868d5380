"""Prose that fits a terminal: lines break between words, and a command that a reader may copy stays on one line."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TextIO

#: A command in prose ends where its sentence goes on, or with the line. Quoted words belong to it.
_COMMAND = re.compile(r"""\bxnatctl(?:[ ](?:[^\s'"]|'[^']*'|"[^"]*")+?)+?(?=[.,;:)]*(?:$|[.,;:)]\s|\s(?:or|and)\s))""")
#: A space in a relative path, such as `series 1/im-0001`; of an absolute path it cannot be told where it begins.
_IN_A_PATH = re.compile(r"(?<=[^\s.,:;)]) (?=[^\s/(:]+/\S)")
_GLUE = "\0"  # in the place of a space that stays; printable text has none


def wrapped(text: str, stream: TextIO) -> str:
    """The text with line breaks where the terminal behind `stream` has no room; unchanged elsewhere.

    Lines that go on are indented by two more spaces than they begin with, so that no name can pass for a line of its
    own.
    """
    width = _columns(stream)
    return "\n".join(_broken(line, width) for line in text.split("\n")) if width else text


def _columns(stream: TextIO) -> int | None:
    """The width of a terminal; None where there is none."""
    try:
        if not stream.isatty():
            return None
        given = os.environ.get("COLUMNS", "")
        return int(given) if given.isdecimal() else os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # closed, or no terminal after all
        return None


def _broken(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    glued = _COMMAND.sub(lambda command: command[0].replace(" ", _GLUE), line)
    glued = _IN_A_PATH.sub(_GLUE, glued)
    indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
    parts = textwrap.wrap(
        glued, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
    return "\n".join(parts).replace(_GLUE, " ")
