"""The worker's end of the pipes to its run: takes orders, asks for tokens, and interrupts the row in work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from xnatctl.api import AuthenticationError, ConnectionFailed, NotXnat, ServerError, TransportError
from xnatctl.api.system import terminate_main_thread
from xnatctl_campaign.protocol import Sender, messages

#: Errors of a renewal that say nothing about the login, by their code.
_ERRORS = {kind.code: kind for kind in (ConnectionFailed, TransportError, ServerError, NotXnat)}


class Inbox:
    """What a run asks of this worker. Rows are taken in the main thread; a thread reads the pipe.

    `begin` reads the first message, so that the login is known before the first row.
    """

    def __init__(self, source: IO[bytes], sender: Sender) -> None:
        self._messages = messages(source)
        self._sender = sender
        self._rows: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._working = False
        #: True once the run told this worker to interrupt its row, or is gone.
        self.interrupted = False
        self.token = ""  # a secret
        self.user = ""
        self.budget: dict[str, int] = {}

    def begin(self) -> None:
        """Take the first message, and listen for the others."""
        first = next(self._messages, None)
        if first is not None and first.get("do") == "begin":
            self.token, self.user = str(first.get("token") or ""), str(first.get("user") or "")
            self.budget = dict(first.get("budget") or {})
        elif first is not None:
            self._take(first)
        threading.Thread(target=self._listen, name="inbox", daemon=True).start()

    def _listen(self) -> None:
        for message in self._messages:
            self._take(message)
        self._interrupt()

    def _take(self, message: dict[str, Any]) -> None:
        match message.get("do"):
            case "row" if isinstance(message.get("row"), int):
                self._rows.put(message["row"])
            case "token":
                self._answers.put(message)
            case "stop":
                self._rows.put(None)
            case "interrupt":
                self._interrupt()

    def _interrupt(self) -> None:
        with self._lock:
            if self.interrupted:
                return
            self.interrupted = True
            self._rows.put(None)
            self._answers.put({"error": "The run that started this worker has ended."})
            if self._working:
                terminate_main_thread()

    def rows(self) -> Iterator[int]:
        """The rows to deliver, as they are asked for."""
        while not self.interrupted and (row := self._rows.get()) is not None:
            yield row

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around the delivery of a row, which an order of the run interrupts like SIGTERM."""
        with self._lock:
            if self.interrupted:
                raise KeyboardInterrupt
            self._working = True
        try:
            yield
        finally:
            with self._lock:
                self._working = False

    def renew(self, rejected: str) -> str:
        """Ask the run for the token that follows a rejected one.

        Raises AuthenticationError when there is none, ConnectionFailed or ServerError when the run cannot log in now.
        """
        if not self._sender.send(**{"is": "need-token", "rejected": rejected}):
            raise AuthenticationError("The run that started this worker has ended, so there is no login.")
        answer = self._answers.get()
        if answer.get("token"):
            return str(answer["token"])
        kind = _ERRORS.get(str(answer.get("code")), AuthenticationError)
        raise kind(str(answer.get("error") or "The run has no other session."))
