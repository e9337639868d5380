"""`/data/status` and `/xapi/event_tracking`: following long work (xnat-import 8)."""

from __future__ import annotations

from werkzeug import Response

from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.responses import json_response, text_response
from xnatctl_sandbox.world.tracking import Tracking, add_status


class EventTracking:
    """Handlers of the two routes."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking

    def event(self, call: Call) -> Response:
        """`/xapi/event_tracking/{key}`; 404 for what this user did not start."""
        found = self._tracking.event(call.parts["key"], call.login)
        return text_response("", 404) if found is None else json_response(found)

    @staticmethod
    def status(call: Call) -> Response:
        """`/data/status/{id}`: a list in a list; the list of an unknown id is empty."""
        lists = call.status_lists
        key = call.parts["key"]
        if call.method == "DELETE":
            lists.pop(key, None)
            return text_response("")
        if call.method == "POST":
            add_status(lists, key, call.query("status", "PROCESSING"), call.query("msg"), terminal=False)
            return text_response("")
        return json_response({"msgs": [list(lists.get(key, []))]})
