"""Sessions in the prearchive: listings, contents, actions (xnat-import 6.1 to 6.3)."""

from __future__ import annotations

import io
import zipfile

from werkzeug import Response

from xnatctl_sandbox.archive.archive_jobs import ArchiveJobs
from xnatctl_sandbox.archive.archiver import archive_uri
from xnatctl_sandbox.archive.checks import ArchiveRefused, Policy, scan_type
from xnatctl_sandbox.archive.prearchive import Prearchive
from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.prearchive_table import COLUMNS, cells, require_edit
from xnatctl_sandbox.http.responses import text_response
from xnatctl_sandbox.http.tables import table
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import PrearchiveRow, Received
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.tracking import Tracking

_NO_SUCH = "Unable to locate prearc resource."
_BUILD_FIELDS = {"visit": "VISIT", "protocol": "PROTOCOL", "timezone": "TIMEZONE", "source": "SOURCE"}
_XML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<xnat:ImageSession xmlns:xnat="http://nrg.wustl.edu/xnat" label="{}"/>\n'
)


class PrearchiveSessions:
    """Handlers of the `/prearchive` routes."""

    def __init__(self, state: State, prearchive: Prearchive, jobs: ArchiveJobs, tracking: Tracking) -> None:
        self._state = state
        self._rows = prearchive
        self._jobs = jobs
        self._tracking = tracking

    # listings, xnat-import 6.1

    def listing(self, call: Call) -> Response:
        """The rows of all editable projects, or of those named; administrators see the Unassigned rows as well."""
        state = self._state
        names = call.parts.get("project")
        if "tag" in call.request.args and not state.is_admin(call.login):
            raise StatusError(403)
        wanted = None
        if names is not None:
            wanted = set()
            for name in names.split(","):
                project = state.find_project(name)
                if project is None or not state.may_read(call.login, project):
                    raise StatusError(403)
                wanted.add(project.id)
        with state.lock:
            rows = [row for row in state.prearchive if self._visible(call, row, wanted)]
            if tag := call.query("tag"):
                rows = [row for row in rows if row.tag == tag]
            return table(call, COLUMNS, [cells(self._state.clock, row) for row in rows], total=False)

    def _visible(self, call: Call, row: PrearchiveRow, wanted: set[str] | None) -> bool:
        if row.project is None:
            return self._state.is_admin(call.login)
        project = self._state.projects[row.project]
        if wanted is not None:
            return row.project in wanted
        return self._state.may_edit(call.login, project)

    # one session, xnat-import 6.2

    def _row(self, call: Call) -> PrearchiveRow | None:
        row = self._rows.find(call.parts["project"], call.parts["timestamp"], call.parts["folder"])
        require_edit(self._state, call, row)
        return row

    def session(self, call: Call) -> Response:
        """GET, POST (actions) and DELETE of one session."""
        row = self._row(call)
        match call.method:
            case "DELETE":
                if call.rest:
                    raise StatusError(400)
                if row is not None:
                    self._rows.delete(row)
                return text_response("")  # 200 for a missing and for a locked row as well
            case "POST":
                return self._action(call, row)
        kind = call.query("format")
        if kind in ("json", "csv", "single"):
            with self._state.lock:
                return table(call, COLUMNS, [cells(self._state.clock, row)] if row is not None else [], total=False)
        if kind == "html":
            if "screen" not in call.request.args:
                raise StatusError(500)  # a null pointer
            return text_response("<html><body>A page for browsers.</body></html>", content_type="text/html")
        if row is not None and kind == "zip":
            return _zipped(row)
        if row is None or row.built is None:
            raise StatusError(404, _NO_SUCH)
        return text_response(_XML.format(row.name), content_type="text/xml")

    def logs(self, call: Call) -> Response:
        """`/logs`, `/logs/last`, `/logs/{id}`, which have the reason of a CONFLICT."""
        row = self._row(call)
        if row is None:
            raise StatusError(404, _NO_SUCH)
        if call.rest:
            number = len(row.logs) - 1 if call.rest == "last" else int(call.rest) if call.rest.isdecimal() else -1
            if not 0 <= number < len(row.logs):
                raise StatusError(404, _NO_SUCH)
            return text_response(row.logs[number][1])
        if call.query("template", "details") != "details":
            return table(call, ("id",), [{"id": number} for number in range(len(row.logs))], total=False)
        lines = [
            {"id": number, "date": self._state.clock.sql(stamp), "entry": entry}
            for number, (stamp, entry) in enumerate(row.logs)
        ]
        return table(call, ("id", "date", "entry"), lines, total=False)

    def scans(self, call: Call) -> Response:
        """`/scans`, `/scans/N/resources`, `/scans/N/resources/R/files[/name]`; only of a built session."""
        row = self._row(call)
        if row is None or row.built is None:
            raise StatusError(404, _NO_SUCH)
        if call.method == "DELETE":
            self._rows.delete_scan(row, call.rest.strip("/"))
            return text_response("")
        pieces = [piece for piece in call.rest.split("/") if piece]
        groups: dict[str, list[Received]] = {}
        for file in row.built.values():
            groups.setdefault(file.scan, []).append(file)
        if not pieces:
            rows = [
                {
                    "ID": scan,
                    "xsiType": scan_type(files[0].modality),
                    "series_description": files[0].series_description,
                }
                for scan, files in groups.items()
            ]
            return table(call, ("ID", "xsiType", "series_description"), rows)
        files = groups.get(pieces[0])
        if files is None:
            raise StatusError(404, _NO_SUCH)
        if pieces[1:] == ["resources"]:
            sums: list[dict[str, object]] = [
                {"label": "DICOM", "file_count": len(files), "file_size": sum(file.size for file in files)}
            ]
            return table(call, ("label", "file_count", "file_size"), sums)
        if pieces[1:4] == ["resources", "DICOM", "files"]:
            if len(pieces) == 5:
                path = row.directory / "SCANS" / pieces[0] / "DICOM" / pieces[4]
                return Response(path.read_bytes(), 200, content_type="application/octet-stream")
            base = f"/data/prearchive/projects/{row.project}/{row.timestamp}/{row.folder}/scans/{pieces[0]}"
            listed: list[dict[str, object]] = [
                {"Name": name, "Size": _size(row, file), "URI": f"{base}/resources/DICOM/files/{name}"}
                for file in files
                for name in [file.path.rpartition("/")[2]]
            ]
            return table(call, ("Name", "Size", "URI"), listed)
        raise StatusError(404, _NO_SUCH)

    def resources(self, call: Call) -> Response:
        """`/resources`, an empty table: a session that comes as DICOM has none here."""
        row = self._row(call)
        if row is None or row.built is None:
            raise StatusError(404, _NO_SUCH)
        return table(call, ("label", "file_count", "file_size"), [])

    # actions, xnat-import 6.3

    def _action(self, call: Call, row: PrearchiveRow | None) -> Response:
        parameters = {key: values[-1] for key, values in call.parameters().items() if values}
        action = parameters.get("action")
        if action is None:
            raise StatusError(400, "No action parameter passed.")
        if action not in ("build", "reset-status", "move", "commit", "set-status"):
            raise StatusError(400, f"Unsupported action {action}")
        if row is None:
            raise StatusError(404, _NO_SUCH)
        uri = row.uri
        match action:
            case "set-status":
                status = parameters.get("status", "")
                if status.startswith("_") or not status:
                    raise StatusError(400, "Illegal status")
                row.status = status
                return text_response("")
            case "reset-status":
                row.status = "RECEIVING"
                return text_response(uri, content_type="text/uri-list")
            case "move":
                return self._move(call, row, parameters.get("newProject", ""))
        if self._rows.is_locked(row):
            raise StatusError(409, "session document locked")
        return self._build(row, parameters, uri) if action == "build" else self._commit(call, row, parameters, uri)

    def _build(self, row: PrearchiveRow, parameters: dict[str, str], uri: str) -> Response:
        for field, parameter in _BUILD_FIELDS.items():
            setattr(row, field, parameters.get(parameter, getattr(row, field)))
        self._rows.build(row)
        return text_response(uri, content_type="text/uri-list")  # no CRLF here

    def _move(self, call: Call, row: PrearchiveRow, name: str) -> Response:
        project = self._state.find_project(name)
        if project is None:
            raise StatusError(404, "Unknown project")
        if not self._state.may_edit(call.login, project):
            raise StatusError(403)
        if self._rows.is_locked(row):
            return text_response("")  # 200 and nothing done
        self._rows.move(row, project.id)
        uri = f"/data/prearchive/projects/{project.id}/{row.timestamp}/{row.folder}"
        return text_response(uri, 301, "text/uri-list")

    def _commit(self, call: Call, row: PrearchiveRow, parameters: dict[str, str], uri: str) -> Response:
        """Archive by strict append (4.6); success is a 301 without Location."""
        said = parameters.get("AA", parameters.get("auto-archive"))
        owner = self._state.projects.get(row.project or "")
        code = owner.prearchive_code if owner is not None else 0
        archives = row.auto_archives or said == "true" or (said is None and code >= 4)
        if not self._rows.build(row):
            raise StatusError(409, "session document locked")
        if not archives:
            return text_response(uri, content_type="text/uri-list")
        strict = Policy(merge=True, override=False, overwrite_files=False)
        if key := parameters.get("http-session-listener"):
            listener = self._tracking.begin(key, call.login, call.status_lists)
            self._jobs.start(row, strict, call.login, listener)
            return text_response("Archival initiated")
        try:
            experiment = self._jobs.wait(row, strict, call.login)
        except ArchiveRefused as refusal:
            raise StatusError(500, f"Operation Failed: {refusal.reason}") from None
        return Response(archive_uri(self._state, experiment), 301, content_type="text/plain")


def _size(row: PrearchiveRow, file: Received) -> int:
    """The size of the file on disk, which may differ from that in the catalog."""
    path = row.directory / file.path
    return path.stat().st_size if path.is_file() else file.size


def _zipped(row: PrearchiveRow) -> Response:
    """The folder of a row as a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(row.directory.rglob("*")):
            if path.is_file():
                archive.write(path, f"{row.folder}/{path.relative_to(row.directory).as_posix()}")
    return Response(out.getvalue(), 200, content_type="application/zip")
