"""Wraps prose for a terminal: lines break between words, and a printed command stays on one line."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TextIO

#: A command in prose ends at punctuation, at "or" and "and", or with the line. Quoted words belong to it.
_COMMAND = re.compile(r"""\bxnatctl(?:[ ](?:[^\s'"]|'[^']*'|"[^"]*")+?)+?(?=[.,;:)]*(?:$|[.,;:)]\s|\s(?:or|and)\s))""")
#: A space in a relative path, such as `series 1/im-0001`; the beginning of an absolute path cannot be recognised.
_IN_A_PATH = re.compile(r"(?<=[^\s.,:;)]) (?=[^\s/(:]+/\S)")
#: A line of a tree: its branches, then a name, then the text of the second column.
_BRANCHES = re.compile("(?:[│ ]   )*[├└]── ")
_NAME = re.compile(r"\S(?:.*?\S)?  +")
_GLUE = "\0"  # placeholder for a space that is kept; printable text does not contain it


def wrapped(text: str, stream: TextIO) -> str:
    """Wrap text to the width of the terminal behind `stream`; unchanged if it is not a terminal.

    Continuation lines are indented by two more spaces, so that a name cannot pass for a line of its own. In a line of a
    tree, they continue the branches and the second column.
    """
    width = _columns(stream)
    return "\n".join(_broken(line, width) for line in text.split("\n")) if width else text


def _columns(stream: TextIO) -> int | None:
    """The width of a terminal; None if the stream is not one."""
    try:
        if not stream.isatty():
            return None
        given = os.environ.get("COLUMNS", "")
        return int(given) if given.isdecimal() else os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # closed, or not a terminal
        return None


def _broken(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    head, indent = _tree_head(line, width)
    glued = _COMMAND.sub(_keep, line[len(head) :])
    glued = head.replace(" ", _GLUE) + _IN_A_PATH.sub(_GLUE, glued)
    indent = indent or " " * (len(line) - len(line.lstrip(" ")) + 2)
    parts = textwrap.wrap(
        glued, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
    return "\n".join(parts).replace(_GLUE, " ")


def _keep(command: re.Match[str]) -> str:
    return command[0].replace(" ", _GLUE)


def _tree_head(line: str, width: int) -> tuple[str, str]:
    """(branches and name, indent of continuation lines) of a line of a tree; both empty for prose."""
    branches = _BRANCHES.match(line)
    if branches is None:
        return "", ""
    bars = branches[0].replace("├── ", "│   ").replace("└── ", "    ")
    name = _NAME.match(line, branches.end())
    column = name.end() if name else 0
    if column > width // 2:  # too little room beside the name
        column = 0
    return line[: name.end() if name else branches.end()], bars.ljust(max(column, len(bars) + 2))
