"""Questions at a terminal. They go to stderr, because stdout has nothing but documents."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from xnatctl.cli.console import printable


def ask(question: str) -> str:
    """The answer to a question, without blanks around it. Raises EOFError for the end of input (Ctrl-D)."""
    with _ended_line():
        # Not input(), which would write the prompt to stdout.
        sys.stderr.write(printable(question))
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.strip()


def ask_secret(question: str) -> str:
    """An answer that the terminal does not show. Raises EOFError for the end of input (Ctrl-D)."""
    with _ended_line():
        return getpass.getpass(printable(question), stream=sys.stderr)


def ask_yes(question: str, *, default: bool) -> bool:
    """Whether the answer is yes; asks again for another word than yes or no. Raises EOFError."""
    while True:
        answer = ask(f"{question} {'[Y/n]' if default else '[y/N]'}: ").lower()
        if answer in ("", "y", "yes", "n", "no"):
            return answer.startswith("y") if answer else default


@contextmanager
def _ended_line() -> Iterator[None]:
    """Begin a new line where no Enter did: after Ctrl-C and Ctrl-D the cursor stands behind the question."""
    try:
        yield
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("\n")
        sys.stderr.flush()
        raise
