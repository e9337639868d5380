"""`/xapi/direct-archive`: rows of sessions that are received straight into the archive (xnat-import 5)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from werkzeug import Response

from xnatctl_sandbox.archive.direct_sessions import DirectSessions
from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.responses import json_response, text_response
from xnatctl_sandbox.receive.importer import DicomImporter
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import DirectRow
from xnatctl_sandbox.world.state import State

_TRIGGER_SINCE = (1, 8, 4)


class DirectArchive:
    """Handlers of `/xapi/direct-archive`."""

    def __init__(self, state: State, sessions: DirectSessions, importer: DicomImporter) -> None:
        self._state = state
        self._sessions = sessions
        self._importer = importer

    def listing(self, call: Call) -> Response:
        """POST lists the readable rows."""
        with self._state.lock:
            rows = [self._document(r) for r in self._state.direct if self._may(call, r, self._state.may_read)]
        return json_response(rows)

    def one(self, call: Call) -> Response:
        """GET returns the row; 404 when it is finished, moved or unknown. POST archives it now."""
        row = self._sessions.find(call.parts["project"], call.parts["study"], call.parts["label"])
        if row is None:
            return text_response("", 404)
        if call.method == "GET":
            return (
                json_response(self._document(row))
                if self._may(call, row, self._state.may_read)
                else text_response("", 403)
            )
        if not self._may(call, row, self._state.may_edit):
            return text_response("", 403)
        if self._state.version_tuple < _TRIGGER_SINCE:
            return text_response("", 405)
        if self._importer.is_writing(row.directory):
            return text_response("Client error: session is still receiving", 409)
        self._sessions.finish(row)
        return text_response("")

    def delete(self, call: Call) -> Response:
        """DELETE removes the row of this ID, not its files."""
        number = call.parts["id"]
        with self._state.lock:
            row = next((r for r in self._state.direct if str(r.id) == number), None)
            if row is None:
                raise StatusError(404)
            if not self._may(call, row, self._state.may_delete):
                return text_response("", 403)
            self._sessions.remove(row)
        return text_response("")

    def _may(self, call: Call, row: DirectRow, right: Any) -> bool:
        return bool(right(call.login, self._state.projects[row.project]))

    @staticmethod
    def _document(row: DirectRow) -> dict[str, Any]:
        hidden = ("directory", "files", "series", "prevent_anon")
        fields = {key: value for key, value in asdict(row).items() if key not in hidden}
        prevented = bool(row.prevent_anon)
        return {**fields, "folderName": row.name, "preventAnon": prevented, "preventAutoCommit": False}
