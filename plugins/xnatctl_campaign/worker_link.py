"""The run's end of a worker process: starts it, hands it rows, and notices when it dies."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from xnatctl.api import RowResult
from xnatctl.api.system import own_group
from xnatctl_campaign.protocol import Sender, messages
from xnatctl_campaign.shared_login import SharedLogin

#: Seconds that an idle worker gets to end, and one that was interrupted. An interrupt ends within 5 s.
_IDLE, _INTERRUPTED = 10.0, 4.0
#: Lines of standard error that are kept for the reason of a failure.
_KEPT = 20
#: Why a row failed whose worker process ended.
WORKER_ENDED = "worker-ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What a row in work does: `phase` in words, and what was sent of it so far."""

    row: int
    phase: str
    files: int = 0
    bytes: int = 0


class Listener(Protocol):
    """Hears about the rows in work, from any thread."""

    def works(self, progress: Progress) -> None:
        """A row in work goes on."""

    def said(self, row: int, line: str) -> None:
        """The worker of a row printed a line."""


class Unheard:
    """The listener of a copy in another process."""

    def works(self, progress: Progress) -> None:
        """Nothing."""

    def said(self, row: int, line: str) -> None:
        """Nothing."""


class _Process:
    """One worker process. What it prints on standard error is handed to `say`."""

    def __init__(self, command: Sequence[str], say: Callable[[str], None]) -> None:
        # In a process group of its own: a Ctrl-C at the terminal is the run's, which tells its workers.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **own_group()
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.sender = Sender(self._process.stdin)
        self.messages = messages(self._process.stdout)
        self.lines: deque[str] = deque(maxlen=_KEPT)
        self._say = say
        self._reader = threading.Thread(target=self._read, name="worker-stderr", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream, contextlib.suppress(OSError):
            for line in stream:
                text = line.decode("utf-8", "replace").rstrip("\n")
                self.lines.append(text)
                self._say(text)

    def kill_after(self, seconds: float) -> None:
        """Kill the worker unless it ends within so many seconds."""
        timer = threading.Timer(seconds, self._process.kill)
        timer.daemon = True
        timer.start()

    def end(self, seconds: float) -> int:
        """Close its standard input and return its exit code; after so many seconds it is killed."""
        self.sender.close()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join(1.0)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code


class WorkerLink:
    """Delivers rows in a worker process, which is started for the first row.

    `command` starts the worker; `budget` is that of the server; `login` is the session that it works in, None when it
    logs in by itself.
    """

    def __init__(
        self, command: Sequence[str], budget: Mapping[str, int], login: SharedLogin | None, listener: Listener
    ) -> None:
        self._command = command
        self._budget = dict(budget)
        self._login = login
        self._listener = listener
        self._process: _Process | None = None
        self._row = 0
        self._interrupted = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.interrupt()
        self._end(_INTERRUPTED if self._interrupted.is_set() else _IDLE)

    def run(self, row: int) -> RowResult:
        """Deliver a row. A worker that dies is replaced once; then the row has failed."""
        for attempt in (1, 2):
            result, code = self._attempt(row)
            if result is not None:
                return result
            if self._interrupted.is_set():
                return RowResult(row=row, state="interrupted", exit_code=130, code="interrupted", reason="Interrupted.")
            if code >= 0:  # it ended by itself and said why
                break
            if attempt == 1:
                self._listener.said(row, f"The worker process was ended by {_name(code)}. Starting another one.")
        return self._failed(row, code)

    def interrupt(self) -> None:
        """Interrupt the row in work; from another thread. Rows after it are not begun."""
        self._interrupted.set()
        if (process := self._process) is not None:
            process.sender.send(do="interrupt")
            process.kill_after(_INTERRUPTED)

    def _attempt(self, row: int) -> tuple[RowResult | None, int]:
        """The result of a row; or None, and the exit code of the worker."""
        self._row = row
        if self._interrupted.is_set():
            return None, 0
        process = self._process = self._process or self._start()
        self._lines = process.lines
        if self._interrupted.is_set():  # while it was started
            process.sender.send(do="interrupt")
        process.sender.send(do="row", row=row)
        for message in process.messages:
            if message.get("is") == "result" and message.get("row") == row:
                result = _result(message)
                if result.state == "interrupted":  # the worker ends after it
                    self._end(_INTERRUPTED)
                return result, 0
            self._take(process, message)
        return None, self._end(_INTERRUPTED)

    def _start(self) -> _Process:
        process = _Process(self._command, lambda line: self._listener.said(self._row, line))
        token, user = ("", "") if self._login is None else (self._login.token, self._login.user)
        process.sender.send(do="begin", token=token, user=user, budget=self._budget)
        return process

    def _take(self, process: _Process, message: dict[str, Any]) -> None:
        match message.get("is"):
            case "progress":
                self._listener.works(
                    Progress(row=self._row, phase=message["phase"], files=message["files"], bytes=message["bytes"])
                )
            case "need-token":
                answer = (
                    {"error": "This run does not share its login."}
                    if self._login is None
                    else self._login.answer(str(message.get("rejected") or ""))
                )
                process.sender.send(do="token", **answer)

    def _end(self, seconds: float) -> int:
        process, self._process = self._process, None
        return 0 if process is None else process.end(seconds)

    def _failed(self, row: int, code: int) -> RowResult:
        if code < 0:
            reason = f"The worker process was ended by {_name(code)}, twice."
            return RowResult(row=row, state="failed", exit_code=1, code=WORKER_ENDED, reason=reason)
        errors = [line.removeprefix("Error: ") for line in self._lines if line.startswith("Error: ")]
        reason = errors[-1] if errors else f"The worker process ended with exit code {code}."
        return RowResult(row=row, state="failed", exit_code=code or 1, code=WORKER_ENDED, reason=reason)


def _result(message: dict[str, Any]) -> RowResult:
    return RowResult(**{name: message[name] for name in ("row", "state", "exit_code", "code", "reason")})


def _name(code: int) -> str:
    """The name of the signal that ended a process."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


class WorkerProcesses:
    """Opens worker processes: the `RowWork` of campaigns, plain data that can be pickled.

    `directory` is the campaign folder, `words` are the command after `xnatctl`, without secrets. A copy in another
    process has neither login nor listener: its workers log in by themselves.
    """

    def __init__(
        self,
        directory: str,
        words: Sequence[str],
        budget: Mapping[str, int],
        login: SharedLogin | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.directory = directory
        self.words = tuple(words)
        self.budget = dict(budget)
        self._login = login
        self._listener = listener or Unheard()

    def __reduce__(self) -> tuple[type[Self], tuple[str, tuple[str, ...], dict[str, int]]]:
        return type(self), (self.directory, self.words, self.budget)

    def open(self) -> WorkerLink:
        """A worker; its process is started for its first row, with the interpreter of this process."""
        command = (sys.executable, "-m", "xnatctl", *self.words)
        return WorkerLink(command, self.budget, self._login, self._listener)
