"""Commands that people copy from a message into their shell: one of POSIX, or `cmd` and PowerShell on Windows.

Both of Windows' shells take double quotes and leave backslashes alone, so a path needs quotes only around spaces.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable
from typing import Final

#: Words that neither `cmd` nor PowerShell reads in another way.
_PLAIN: Final = re.compile(r"[\w+=:./\\-]+\Z")
#: A quotation mark with the backslashes before it, backslashes, space, and the rest.
_PIECES: Final = re.compile(r'(\\*)"|(\\+)|(\s+)|([^\\"\s]+)')


def quote_word(word: str) -> str:
    """A word of a command line, in quotes if the shell needs them."""
    if sys.platform != "win32":
        return shlex.quote(word)
    if _PLAIN.match(word):
        return word
    # Backslashes before a quotation mark are doubled, as programs of Windows read their command line.
    escaped = re.sub(r"(\\+)\Z", r"\1\1", re.sub(r'(\\*)"', r'\1\1\\"', word))
    return f'"{escaped}"'


def join_command(words: Iterable[str]) -> str:
    """A command line of these words."""
    return " ".join(map(quote_word, words))


def split_command(line: str) -> list[str]:
    """The words of a command line that `join_command` made."""
    if sys.platform != "win32":
        return shlex.split(line)
    words: list[str] = []
    is_open = quoted = False
    for piece in _PIECES.finditer(line):
        before, backslashes, space, rest = piece.groups()
        if space is not None and not quoted:
            is_open = False
            continue
        if not is_open:
            words.append("")
            is_open = True
        if before is not None:
            words[-1] += before[: len(before) // 2] + '"' * (len(before) % 2)
            quoted ^= len(before) % 2 == 0
        else:
            words[-1] += backslashes or space or rest
    return words
