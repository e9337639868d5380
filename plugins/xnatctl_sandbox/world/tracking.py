"""Following long work: status lists in the HTTP session, and event tracking by user (xnat-import 8)."""

from __future__ import annotations

import threading
from typing import Any

#: The status lists of one HTTP session, by the id that the client chose.
StatusLists = dict[str, list[dict[str, object]]]


class Tracking:
    """The work under way in one sandbox."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[tuple[str | None, str], dict[str, Any]] = {}

    def begin(self, key: str, login: str | None, lists: StatusLists) -> Listener:
        """Announce work under `key`, to this user's events and to the status lists of the caller's session."""
        event = {"key": key, "payload": None, "succeeded": None, "finalMessage": None}
        with self._lock:
            self._events[login, key] = event
        add_status(lists, key, "PROCESSING", "Started", terminal=False)
        return Listener(self, key, login, lists)

    def end(self, key: str, login: str | None, message: str, *, succeeded: bool) -> None:
        """Write the end of the work into the event."""
        with self._lock:
            self._events[login, key] |= {"succeeded": succeeded, "finalMessage": message}

    def event(self, key: str, login: str | None) -> dict[str, Any] | None:
        """The event of this key, None when this user has not started one."""
        with self._lock:
            return self._events.get((login, key))


class Listener:
    """Tells the two kinds of listeners how one piece of work ended."""

    def __init__(self, tracking: Tracking, key: str, login: str | None, lists: StatusLists) -> None:
        self._tracking = tracking
        self._key = key
        self._login = login
        self._lists = lists

    def end(self, message: str, *, succeeded: bool) -> None:
        """The work has ended; the message is a URI or the reason of a failure."""
        self._tracking.end(self._key, self._login, message, succeeded=succeeded)
        place = "Archive" if message.startswith("/archive") else "Prearchive"
        status, text = ("COMPLETED", f"{place}:{message}") if succeeded else ("FAILED", message)
        add_status(self._lists, self._key, status, text, terminal=True)


def add_status(lists: StatusLists, key: str, status: str, message: str, *, terminal: bool) -> None:
    """Append one entry to a status list."""
    lists.setdefault(key, []).append({"status": status, "msg": message, "terminal": terminal})
