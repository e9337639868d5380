"""Items: one project, subject, session or scan. HTML comes first, so a client must ask for JSON (xnat-api 2.1, 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from werkzeug import Response

from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.creating import Creating
from xnatctl_sandbox.http.lookup import Lookup
from xnatctl_sandbox.http.responses import json_response, text_response
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import Experiment, Scan
from xnatctl_sandbox.world.state import State


class Items:
    """Handlers of single records; PUT creates or changes one."""

    def __init__(self, state: State, lookup: Lookup, creating: Creating) -> None:
        self._state = state
        self._lookup = lookup
        self._creating = creating

    def project_item(self, call: Call) -> Response:
        """GET of one project; PUT creates or changes one."""
        if call.method == "PUT":
            return self._creating.put_project(call)
        project = self._lookup.project(call)
        return self._item(call, "xnat:projectData", {"ID": project.id, "name": project.name or project.id})

    def subject_item(self, call: Call) -> Response:
        """GET and PUT of one subject; with a project GET tries the ID first, in any project (2.4)."""
        if call.method == "PUT":
            return self._creating.put_subject(call)
        subject = self._state.subjects.get(call.parts["subject"])
        if subject is None or not self._state.may_read(call.login, self._state.projects[subject.project]):
            subject = self._lookup.subject(call)
        fields = {"ID": subject.id, "label": subject.label, "project": subject.project, **subject.fields}
        return self._item(call, "xnat:subjectData", fields)

    def experiment_item(self, call: Call) -> Response:
        """GET, PUT and DELETE of one session; an unknown suffix gets the whole item (0.4)."""
        if call.method == "PUT":
            return self._creating.put_experiment(call)
        experiment = self._lookup.experiment(call)
        if call.method == "DELETE":
            if call.rest:
                raise StatusError(400)  # an unrouted suffix is not the session (0.4)
            if not self._state.may_delete(call.login, self._state.projects[experiment.project]):
                raise StatusError(403)
            self._state.remove_experiment(experiment)
            return text_response("")
        fields = {
            "ID": experiment.id,
            "label": experiment.label,
            "project": experiment.project,
            "subject_ID": experiment.subject_id,
            "UID": experiment.uid,
            "date": experiment.date,
            "modality": experiment.modality,
            **experiment.fields,
        }
        children = [
            {
                "field": "scans/scan",
                "items": [self._scan_item(experiment, scan) for scan in experiment.scans.values()],
            }
        ]
        return self._item(call, experiment.xsi_type, fields, children if experiment.scans else [])

    def scan_item(self, call: Call) -> Response:
        """GET of one scan; PUT creates or changes one."""
        experiment = self._lookup.experiment(call)
        if call.method == "PUT":
            return self._creating.put_scan(call, experiment)
        found = self._lookup.scans(call, experiment)
        if not found:
            raise StatusError(404, "Unable to identify scan")
        item = self._scan_item(experiment, found[0])
        return self._answer_item(call, item)

    def _scan_item(self, experiment: Experiment, scan: Scan) -> dict[str, Any]:
        fields = {
            "ID": scan.id,
            "UID": scan.uid,
            "type": scan.type,
            "quality": scan.quality,
            "series_description": scan.series_description,
            "frames": scan.frames,
            "modality": scan.modality,
            "xnat_imagescandata_id": scan.pk,
            "image_session_ID": experiment.id,
        }
        return _item(scan.xsi_type, fields, [])

    def _item(
        self, call: Call, kind: str, fields: Mapping[str, Any], children: list[dict[str, Any]] | None = None
    ) -> Response:
        return self._answer_item(call, _item(kind, fields, children or []))

    @staticmethod
    def _answer_item(call: Call, item: dict[str, Any]) -> Response:
        match call.format("html"):
            case "json":
                return json_response({"items": [item]})
            case "xml":
                attributes = " ".join(
                    f'{key}="{value}"' for key, value in item["data_fields"].items() if "/" not in key
                )
                kind = item["meta"]["xsi:type"].partition(":")[2].removesuffix("Data")
                head = '<?xml version="1.0" encoding="UTF-8"?>\n'
                return text_response(
                    f'{head}<xnat:{kind[0].upper()}{kind[1:]} xmlns:xnat="http://nrg.wustl.edu/xnat" {attributes}/>\n',
                    content_type="text/xml",
                )
        return text_response("<html><body>A page for browsers.</body></html>", content_type="text/html")


def _item(kind: str, fields: Mapping[str, Any], children: list[dict[str, Any]]) -> dict[str, Any]:
    """One item of `ItemJSONBuilder`: unset fields are absent (2.3)."""
    return {
        "meta": {
            "xsi:type": kind,
            "isHistory": False,
            "start_date": "Fri Jan 01 00:00:00 UTC 2021",
            "create_event_id": 1,
        },
        "data_fields": {key: value for key, value in fields.items() if value not in ("", None)},
        "children": children,
    }
