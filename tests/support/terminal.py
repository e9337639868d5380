"""A shell at a terminal, as the reader of a page has one: bash on a pseudo-terminal."""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from children import HANGS

try:
    import fcntl
    import pty
    import termios
except ImportError:
    pty = None  # type: ignore[assignment]

COLUMNS = 100
#: Runs each line that it reads in this one shell, and marks its end and its exit code, which `echo $?` can print too.
_LOOP = (
    "trap : INT; code=0; while IFS= read -r -u $1 line; do"
    r' (exit $code); eval "$line"; code=$?; printf "\036%d\036" $code; done'
)
_END = re.compile(r"\x1e(\d+)\x1e")


def stripped(text: str) -> str:
    """The text without the codes of colours, and without the one that erases the echo of Ctrl-C."""
    return re.sub(r"\x1b\[[0-9;]*m|\r\x1b\[2K", "", text)


class Hangs(AssertionError):
    """A command neither ended nor printed what was waited for."""


class Terminal:
    """One shell: its variables, its directory and the last exit code stay from command to command."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        if pty is None:
            pytest.skip("the system has no pseudo-terminals in the standard library")
        self._screen, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        modes = termios.tcgetattr(theirs)
        modes[1] &= ~termios.OPOST  # line breaks stay \n
        modes[3] &= ~termios.ECHO  # what is typed is not printed
        termios.tcsetattr(theirs, termios.TCSANOW, modes)
        lines, self._commands = os.pipe()
        self._shell = subprocess.Popen(
            ["setsid", "--ctty", "bash", "--norc", "-c", _LOOP, "bash", str(lines)],
            stdin=theirs, stdout=theirs, stderr=theirs, pass_fds=[lines], cwd=directory, env=dict(environment),
        )  # fmt: skip
        os.close(theirs)
        os.close(lines)

    def run(self, command: str, typed: tuple[str, ...] = (), *, interrupted: str = "") -> tuple[str, int]:
        """What the command printed, and its exit code; `typed` are the answers to its questions, in their order.

        With `interrupted`, Ctrl-C is pressed as soon as the answers are given and the question holds this text.
        """
        over = self._answering(list(typed))
        if not interrupted:
            return _ended(self.begin(command, over))
        text = self.begin(command, lambda text: over(text) or (interrupted in text and text.endswith(": ")))
        rest, code = self.interrupt()
        return text + rest, code

    def answer(self, *typed: str) -> tuple[str, int]:
        """Answer a question that stands on the screen, and those after it: what is printed then, and the exit code."""
        first, *others = typed
        os.write(self._screen, first.encode() + b"\n")
        return _ended(self._read(self._answering(others)))

    def _answering(self, answers: list[str]) -> Callable[[str], bool]:
        """Answers questions in their order; says whether the command has ended."""

        def over(text: str) -> bool:
            if answers and text.endswith(": "):
                os.write(self._screen, answers.pop(0).encode() + b"\n")
            return _END.search(text) is not None

        return over

    def begin(self, command: str, enough: Callable[[str], bool]) -> str:
        """Start the command; returns what it has printed as soon as that is enough. Raises Hangs."""
        os.write(self._commands, command.encode() + b"\n")
        try:
            return self._read(enough)
        except Hangs as error:
            raise Hangs(f"$ {command}\n{error}") from None

    def interrupt(self) -> tuple[str, int]:
        """Press Ctrl-C: what the command printed then, and its exit code."""
        os.write(self._screen, b"\x03")
        return _ended(self._read(lambda text: _END.search(text) is not None))

    def _read(self, enough: Callable[[str], bool]) -> str:
        data, deadline = b"", time.monotonic() + HANGS
        while not enough(text := data.decode(errors="replace")):
            ready, _, _ = select.select([self._screen], [], [], max(0.0, deadline - time.monotonic()))
            if _END.search(text) or not ready:
                raise Hangs(text)
            data += os.read(self._screen, 65536)
        return text

    def close(self) -> None:
        """End the shell, and what runs in it."""
        if self._shell.poll() is None:
            try:
                os.killpg(self._shell.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has no group of its own yet
                self._shell.kill()
        self._shell.wait()
        os.close(self._commands)
        os.close(self._screen)


def _ended(text: str) -> tuple[str, int]:
    end = _END.search(text)
    assert end is not None
    return text[: end.start()], int(end[1])
