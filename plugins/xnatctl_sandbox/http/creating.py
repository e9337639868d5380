"""Creating and changing projects, subjects, sessions and scans (xnat-api 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from werkzeug import Response

from xnatctl_sandbox.http import content_types
from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.responses import text_response
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import Experiment, Project, Scan, Subject
from xnatctl_sandbox.world.state import State

_XML = ("text/xml", "application/xml")
_VALID_ID = re.compile(r"[A-Za-z0-9_-]+")
#: Types that can be named and not made.
_ABSTRACT = frozenset({"xnat:imageScanData", "xnat:imageSessionData"})
#: Parameters of the request, not of what it makes.
_NOT_FIELDS = frozenset(
    {"xsiType", "req_format", "inbody", "format", "label", "event_reason", "event_type", "event_action",
     "event_comment", "event_id", "XNAT_CSRF", "subject_ID", "activate", "allowDataDeletion"}
)  # fmt: skip


class Creating:
    """Handlers that create and change records."""

    def __init__(self, state: State) -> None:
        self._state = state

    # projects

    def put_project(self, call: Call) -> Response:
        """Change an existing project, or create one."""
        name = call.parts["project"]
        with self._state.lock:
            found = self._state.find_project(name)
            if found is None:
                return self._new_project(call, name)
            if not self._state.may_edit(call.login, found):
                raise StatusError(403)
            fields = _loaded(call)
            found.name = fields.get("name", found.name)
            found.description = fields.get("description", found.description)
        return text_response("")

    def post_project(self, call: Call) -> Response:
        """Create a project; 409 when its ID exists."""
        name = _loaded(call).get("ID", "")
        with self._state.lock:
            if self._state.find_project(name) is not None:
                raise StatusError(409, "Project already exists.")
            return self._new_project(call, name)

    def _new_project(self, call: Call, name: str) -> Response:
        if not _VALID_ID.fullmatch(name):
            raise StatusError(417, "Invalid character in project ID.")
        if not self._state.is_admin(call.login):
            raise StatusError(403)
        fields = _loaded(call)
        project = self._state.add_project(name, roles={call.login or "": "owner"})
        project.name, project.description = fields.get("name", name), fields.get("description", "")
        self._state.dirty = True
        return text_response(name)

    # subjects

    def put_subject(self, call: Call) -> Response:
        """Create (201) or change (200) a subject; the body is its ID. `label=NEW` renames it, with an empty body."""
        project = self._writable(call)
        fields = _loaded(call)
        if fields.get("project", project.id) != project.id:
            raise StatusError(409, "Subject cannot be moved to another project.")
        with self._state.lock:
            found = self._state.find_subject(project.id, call.parts["subject"])
            if found is None:
                found = self._new_subject(project, call.parts["subject"], call.login)
                found.fields.update(_kept(fields))
                return text_response(found.id, 201)
            found.fields.update(_kept(fields))
            self._state.dirty = True
            if label := fields.get("label"):
                found.label = label
                return text_response("")
            return text_response(found.id)

    def post_subject(self, call: Call) -> Response:
        """Create a subject; body and Location are its URI. 409 when its label exists."""
        project = self._writable(call)
        fields = _loaded(call)
        label = fields.get("label", "")
        if not label:
            raise StatusError(417, "Need POST Contents")
        with self._state.lock:
            if self._state.find_subject(project.id, label) is not None:
                raise StatusError(409, "Subject already exists.")
            subject = self._new_subject(project, label, call.login)
            subject.fields.update(_kept(fields))
        uri = f"/data/subjects/{subject.id}"
        response = text_response(uri)
        response.headers["Location"] = f"{self._state.site['siteUrl']}{uri}"
        return response

    def _new_subject(self, project: Project, label: str, login: str | None) -> Subject:
        self._state.dirty = True
        return self._state.add_subject(project.id, label, login)

    def _writable(self, call: Call) -> Project:
        """The project of the route: 422 when the caller can see none, 403 when it may not be changed."""
        project = self._state.find_project(call.parts["project"])
        if project is None or not self._state.may_read(call.login, project):
            raise StatusError(422, "Unable to identify project.")
        if not self._state.may_edit(call.login, project):
            raise StatusError(403)
        return project

    # sessions

    def put_experiment(self, call: Call) -> Response:
        """Create (201) or change (200) a session; the body is its ID. A missing subject is created too."""
        if call.rest and not call.rest.startswith("projects"):
            self._unrouted(call)
        project = self._writable(call)
        fields = _loaded(call)
        state, label = self._state, call.parts["experiment"]
        with state.lock:
            found = state.find_experiment(project.id, label)
            if found is not None and found.project == project.id:
                self._change(found, fields)
                return text_response(found.id)
            kind = fields.get("xsiType", "")
            name = call.parts.get("subject") or fields.get("subject_ID", "")
            if not kind or not name:
                raise StatusError(417, "Need PUT Contents")
            if kind in _ABSTRACT:
                raise StatusError(400, f"{kind} is abstract")
            _date(fields)
            subject = state.find_subject(project.id, name) or self._new_subject(project, name, call.login)
            experiment = Experiment(
                id=state.new_experiment_id(), label=label, project=project.id, subject_id=subject.id, xsi_type=kind,
                directory=state.session_directory(project.id, label), inserted=state.clock.now(),
                inserted_by=call.login or "",
            )  # fmt: skip
            self._change(experiment, fields)
            state.experiments[experiment.id] = experiment
        return text_response(experiment.id, 201)

    def _unrouted(self, call: Call) -> None:
        """`/projects/P/experiments/E/scans/...` is no route: its PUT ends at the session (0.4)."""
        _loaded(call)
        project = self._state.find_project(call.parts["project"])
        if project is None or self._state.find_experiment(project.id, call.parts["experiment"]) is None:
            raise StatusError(417)
        raise StatusError(400)

    def _change(self, experiment: Experiment, fields: Mapping[str, str]) -> None:
        experiment.date = _date(fields) or experiment.date
        experiment.uid = fields.get("UID", experiment.uid)
        experiment.modality = fields.get("modality", experiment.modality)
        experiment.fields.update(
            {key: value for key, value in _kept(fields).items() if key not in ("date", "UID", "modality")}
        )
        self._state.dirty = True

    # scans

    def put_scan(self, call: Call, experiment: Experiment) -> Response:
        """Create or change a scan; 200 with an empty body."""
        if not self._state.may_edit(call.login, self._state.projects[experiment.project]):
            raise StatusError(403)
        fields = _loaded(call)
        kind, name = fields.get("xsiType", ""), call.parts["scan"]
        if kind in _ABSTRACT:
            raise StatusError(400, "Scan type must be specified.")
        with self._state.lock:
            scan = experiment.scans.get(name)
            if scan is None:
                scan = Scan(id=name, xsi_type=kind or "xnat:otherDicomScanData", pk=self._state.next_number("scan"))
                experiment.scans[name] = scan
            elif kind and kind != scan.xsi_type:
                raise StatusError(409, "Scan type cannot be changed.")
            for field, parameter in _SCAN_FIELDS.items():
                setattr(scan, field, fields.get(parameter, getattr(scan, field)))
            self._state.dirty = True
        return text_response("")


_SCAN_FIELDS = {
    "type": "type", "series_description": "series_description", "quality": "quality", "note": "note",
    "modality": "modality", "uid": "UID",
}  # fmt: skip


def _date(fields: Mapping[str, str]) -> str:
    """The date as XNAT prints it; empty when none is given. Raises StatusError 400."""
    date = fields.get("date", "")
    if american := re.fullmatch(r"(\d{2})/(\d{2})/(\d{4})", date):
        date = f"{american[3]}-{american[1]}-{american[2]}"
    if date and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date):
        raise StatusError(400, f"Invalid date: {date}")
    return date


def _kept(fields: Mapping[str, str]) -> dict[str, str]:
    return {key.rpartition("/")[2]: value for key, value in fields.items() if key not in _NOT_FIELDS | {"project"}}


def _loaded(call: Call) -> dict[str, str]:
    """Fields from the query, from a form, or from XML: its type and attributes. Raises StatusError 422 for bad XML.

    A body is XML for XML types, for `req_format=xml`, and for `inbody=true`, whatever it is then.
    """
    request = call.request
    asked = call.query("req_format")
    fields: dict[str, str] = {}
    if asked == "form" or request.mimetype in (content_types.FORM, content_types.MULTIPART):
        fields = {key: values[-1] for key, values in call.parameters().items()}
    elif (
        asked == "xml" or call.query("inbody").lower() == "true" or request.mimetype in ("text/xml", "application/xml")
    ):
        fields = _parsed(request.get_data())
    return {**fields, **{key: call.query(key) for key in request.args}}


def _parsed(body: bytes) -> dict[str, str]:
    try:
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
            raise ET.ParseError("no document type here")
        root = ET.fromstring(body)  # noqa: S314 - without a document type there is nothing to expand
    except (ET.ParseError, ValueError) as error:
        raise StatusError(422, f"Error in XML: {error}") from None
    fields = {key: value for key, value in root.attrib.items() if not key.startswith("{")}
    fields |= {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in root if not len(child)}
    name = root.tag.rpartition("}")[2]
    return {"xsiType": f"xnat:{name[:1].lower()}{name[1:]}Data", **fields}
