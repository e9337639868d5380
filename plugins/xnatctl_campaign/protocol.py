"""The messages between a run and its worker processes: one JSON object a line, in both directions.

A run writes to the standard input of a worker, and a worker to its standard output:

    run -> worker       {"do": "begin", "token": TEXT, "user": TEXT, "budget": {TEXT: NUMBER}}
                                                                       before the first row; `token` is the session
                        {"do": "row", "row": NUMBER}                   deliver this row
                        {"do": "token", "token": TEXT}                 the answer to `need-token`,
                        {"do": "token", "error": TEXT, "code": TEXT}   or why there is no other session
                        {"do": "interrupt"}                            interrupt the row in work, then end
                        {"do": "stop"}                                 end after the rows that were named so far
    worker -> run       {"is": "started", "row": NUMBER}
                        {"is": "progress", "row": NUMBER, "phase": TEXT, "files": NUMBER, "bytes": NUMBER}
                        {"is": "result", "row": NUMBER, "state": TEXT, "exit_code": NUMBER, "code": TEXT,
                         "reason": TEXT}
                        {"is": "need-token", "rejected": TEXT}         the session has ended

The end of standard input means `interrupt`, so that a run that was killed leaves no worker behind. A worker that gets
no `begin`, or no token, logs in by itself. Names that one side does not know are ignored.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import IO, Any

#: Longest line (bytes): a message holds numbers, a token and a reason.
_LONGEST = 1 << 20


class Sender:
    """Writes messages to a pipe, from any thread."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, **message: Any) -> bool:
        """Write a message. False if the other side has ended."""
        line = json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
        with self._lock:
            try:
                self._pipe.write(line)
                self._pipe.flush()
            except (OSError, ValueError):  # broken, or closed here
                return False
        return True

    def close(self) -> None:
        """Close the pipe; never raises."""
        with self._lock:
            try:
                self._pipe.close()
            except OSError:
                return  # the other side has ended, and something was left to write


def messages(pipe: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The messages from a pipe until its end; lines that hold none are skipped."""
    while True:
        try:
            line = pipe.readline(_LONGEST)
        except (OSError, ValueError):  # closed here
            return
        if not line:
            return
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict):
            yield message
