"""Sessions received straight into the archive, and their xapi (xnat-import 5)."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from werkzeug import Response

from xnatctl_sandbox.http.responses import Call, StatusError, answer_json, text
from xnatctl_sandbox.world.state import DirectRow

if TYPE_CHECKING:
    from xnatctl_sandbox.server import Sandbox

_TRIGGER_SINCE = (1, 8, 4)


class Direct:
    """The rows and what ends them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state
        self._threads: list[threading.Thread] = []

    def find(self, project: str, study: str, label: str) -> DirectRow | None:
        """A row by its key."""
        with self._state.lock:
            wanted = (project, study, label)
            return next((row for row in self._state.direct if (row.project, row.tag, row.name) == wanted), None)

    def finish(self, row: DirectRow) -> None:
        """Queue build and archive; it goes on after the answer."""
        with self._state.lock:
            if row.status != "RECEIVING":
                return
            row.status = "QUEUED_BUILDING"
        thread = threading.Thread(target=self._finish, args=(row,), name="sandbox-direct", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _finish(self, row: DirectRow) -> None:
        for status, switch in (("BUILDING", "build_seconds"), ("ARCHIVING", "archive_seconds")):
            with self._state.lock:
                row.status = status
            self._sandbox.switches.pause(switch)  # a real server takes its time; a test's switch
        self._sandbox.archiver.archive_direct(row, str(self._state.site["receivedFileUser"]))

    def join(self) -> None:
        """Wait for what was queued."""
        for thread in self._threads:
            thread.join()

    # xapi

    def listing(self, call: Call) -> Response:
        """POST: the readable rows."""
        with self._state.lock:
            rows = [self._document(r) for r in self._state.direct if self._may(call, r, self._state.may_read)]
        return answer_json(rows)

    def one(self, call: Call) -> Response:
        """GET: the row, or 404 = finished, moved, or never there. POST: archive it now."""
        row = self.find(call.parts["project"], call.parts["study"], call.parts["label"])
        if row is None:
            return text("", 404)
        if call.method == "GET":
            return answer_json(self._document(row)) if self._may(call, row, self._state.may_read) else text("", 403)
        if not self._may(call, row, self._state.may_edit):
            return text("", 403)
        if self._state.version_tuple < _TRIGGER_SINCE:
            return text("", 405)
        if self._sandbox.receiver.locked(row.directory):
            return text("Client error: session is still receiving", 409)
        self.finish(row)
        return text("")

    def delete(self, call: Call) -> Response:
        """DELETE by id: the row only."""
        number = call.parts["id"]
        with self._state.lock:
            row = next((r for r in self._state.direct if str(r.id) == number), None)
            if row is None:
                raise StatusError(404)
            if not self._may(call, row, self._state.may_delete):
                return text("", 403)
            self._state.direct.remove(row)
        return text("")

    def _may(self, call: Call, row: DirectRow, right: Any) -> bool:
        return bool(right(call.login, self._state.projects[row.project]))

    @staticmethod
    def _document(row: DirectRow) -> dict[str, Any]:
        hidden = ("directory", "files", "series", "prevent_anon")
        fields = {key: value for key, value in asdict(row).items() if key not in hidden}
        prevented = bool(row.prevent_anon)
        return {**fields, "folderName": row.name, "preventAnon": prevented, "preventAutoCommit": False}
