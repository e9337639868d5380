"""Following long work: status lists in the HTTP session, and event tracking by user (xnat-import 8)."""

from __future__ import annotations

import threading
from typing import Any

from werkzeug import Response

from xnatctl_sandbox.http.responses import Call, answer_json, text


class Tracking:
    """What is known of work under way; one for each sandbox."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[tuple[str | None, str], dict[str, Any]] = {}

    def begin(self, call: Call, key: str) -> None:
        """Work starts; both kinds of listeners can ask for it by `key`."""
        with self._lock:
            self._events[call.login, key] = {"key": key, "payload": None, "succeeded": None, "finalMessage": None}
        _say(call, key, "PROCESSING", "Started", terminal=False)

    def end(self, call: Call, key: str, message: str, *, succeeded: bool) -> None:
        """It ended; the message is a URI or the reason of a failure."""
        with self._lock:
            self._events[call.login, key] |= {"succeeded": succeeded, "finalMessage": message}
        place = "Archive" if message.startswith("/archive") else "Prearchive"
        _say(
            call, key, "COMPLETED" if succeeded else "FAILED", f"{place}:{message}" if succeeded else message,
            terminal=True,
        )  # fmt: skip

    def event(self, call: Call) -> Response:
        """`/xapi/event_tracking/{key}`; 404 for what this user did not start."""
        with self._lock:
            found = self._events.get((call.login, call.parts["key"]))
        return text("", 404) if found is None else answer_json(found)

    @staticmethod
    def status(call: Call) -> Response:
        """`/data/status/{id}`: a list in a list; an unknown id has an empty one."""
        kept = call.messages
        key = call.parts["key"]
        if call.method == "DELETE":
            kept.pop(key, None)
            return text("")
        if call.method == "POST":
            _say(call, key, call.query("status", "PROCESSING"), call.query("msg"), terminal=False)
            return text("")
        return answer_json({"msgs": [list(kept.get(key, []))]})


def _say(call: Call, key: str, status: str, message: str, *, terminal: bool) -> None:
    call.messages.setdefault(key, []).append({"status": status, "msg": message, "terminal": terminal})
