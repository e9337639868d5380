"""Rows for tests of executors: a real child process a worker, which writes what it does to a file.

`python fake_rows.py LOG` is the child: it reads lines `ROW WHAT`, where WHAT is a number of seconds or `fail`.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class FakeWork:
    """What `RowWork` is for an executor: `seconds` says how long a row takes, or `fail` or `exit`."""

    directory: str
    log: str
    default: str = "0"
    each: Mapping[int, str] = field(default_factory=dict)
    refuses: str = ""  # `open` raises this

    def open(self) -> Any:
        """A worker with a child process."""
        return FakeWorker(self)

    def lines(self) -> list[tuple[str, int, int]]:
        """What was done: the word, the row and the process."""
        path = Path(self.log)
        words = [line.split() for line in (path.read_text().splitlines() if path.exists() else [])]
        return [(word, int(row), int(pid)) for word, row, pid in words]

    def rows(self, word: str) -> list[int]:
        """The rows about which a word was said, in that order."""
        return [row for said, row, _ in self.lines() if said == word]


class FakeWorker:
    """A worker with a child process, as `RowWorker`."""

    def __init__(self, work: FakeWork) -> None:
        self._work = work

    def __enter__(self) -> Self:
        if self._work.refuses:
            from xnatctl.api import AuthenticationError

            raise AuthenticationError(self._work.refuses)
        self._child = subprocess.Popen(
            [sys.executable, "-S", __file__, self._work.log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *details: object) -> None:
        self.interrupt()
        self._child.wait()
        self._child.stdout.close()

    def run(self, row: int) -> Any:
        from xnatctl.api import RowResult

        what = self._work.each.get(row, self._work.default)
        if what == "raise":
            raise ZeroDivisionError("what no one foresaw")
        if not self._child.stdin.closed:
            self._child.stdin.write(f"{row} {what}\n")
            self._child.stdin.flush()
        state = self._child.stdout.readline().strip() or "interrupted"
        codes = {"failed": (5, "incomplete"), "interrupted": (130, "interrupted")}
        code, name = codes.get(state, (0, ""))
        return RowResult(row=row, state=state, exit_code=code, code=name, reason=name)

    def interrupt(self) -> None:
        if not self._child.stdin.closed:
            self._child.stdin.close()


def main() -> None:
    """The child."""
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def say(word: str, row: str) -> None:
        os.write(log, f"{word} {row} {os.getpid()}\n".encode())

    while line := os.read(0, 1000):
        row, what = line.decode().split()
        say("begins", row)
        state = "failed" if what == "fail" else "proven"
        if state == "proven" and select.select([0], [], [], float(what))[0]:  # the other side closed the pipe
            state = "interrupted"
        say(state, row)
        print(state, flush=True)


if __name__ == "__main__":
    main()
