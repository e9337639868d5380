"""Rows of the prearchive: listing, looking into them, acting on them (xnat-import 6.1 to 6.3)."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from werkzeug import Response

from xnatctl_sandbox.archive import archiver
from xnatctl_sandbox.archive.archive_jobs import Archiving
from xnatctl_sandbox.archive.checks import ArchiveRefused, Policy, scan_type
from xnatctl_sandbox.archive.prearchive import AUTO, Prearchive
from xnatctl_sandbox.http.responses import Call, StatusError, table, text
from xnatctl_sandbox.world.state import PrearchiveRow, Received

if TYPE_CHECKING:
    from xnatctl_sandbox.server import Sandbox

COLUMNS = (
    "project", "timestamp", "lastmod", "uploaded", "scan_date", "scan_time", "subject", "folderName", "name", "tag",
    "status", "url", "autoarchive", "prevent_anon", "prevent_auto_commit", "SOURCE", "VISIT", "PROTOCOL", "TIMEZONE",
)  # fmt: skip
_NO_SUCH = "Unable to locate prearc resource."
_BUILD_FIELDS = {"visit": "VISIT", "protocol": "PROTOCOL", "timezone": "TIMEZONE", "source": "SOURCE"}
_XML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<xnat:ImageSession xmlns:xnat="http://nrg.wustl.edu/xnat" label="{}"/>\n'
)


class PrearchiveRest:
    """Handlers for `/prearchive/...`."""

    def __init__(self, sandbox: Sandbox, archiving: Archiving) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state
        self._rows: Prearchive = sandbox.prearchive
        self._archiving = archiving

    # listings, xnat-import 6.1

    def listing(self, call: Call) -> Response:
        """All editable projects, or those named; all-data users see the Unassigned rows as well."""
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
            return table(call, COLUMNS, [self.cells(row) for row in rows], total=False)

    def _visible(self, call: Call, row: PrearchiveRow, wanted: set[str] | None) -> bool:
        if row.project is None:
            return self._state.is_admin(call.login)
        project = self._state.projects[row.project]
        if wanted is not None:
            return row.project in wanted
        return self._state.may_edit(call.login, project)

    def cells(self, row: PrearchiveRow) -> dict[str, object]:
        """A row as the table prints it."""
        clock, project = self._state.clock, row.project or "Unassigned"
        return {
            "project": project,
            "timestamp": row.timestamp,
            "lastmod": clock.sql(row.lastmod),
            "uploaded": clock.sql(row.uploaded),
            "scan_date": row.scan_date,
            "scan_time": row.scan_time,
            "subject": row.subject,
            "folderName": row.folder,
            "name": row.name,
            "tag": row.tag,
            "status": row.status,
            "url": f"/prearchive/projects/{project}/{row.timestamp}/{row.folder}",
            "autoarchive": row.autoarchive,
            "prevent_anon": row.prevent_anon,
            "prevent_auto_commit": row.prevent_auto_commit,
            "SOURCE": row.source,
            "VISIT": row.visit,
            "PROTOCOL": row.protocol,
            "TIMEZONE": row.timezone,
        }

    # one session, xnat-import 6.2

    def _row(self, call: Call) -> PrearchiveRow | None:
        row = self._rows.find(call.parts["project"], call.parts["timestamp"], call.parts["folder"])
        self.require_edit(call, row)
        return row

    def require_edit(self, call: Call, row: PrearchiveRow | None) -> None:
        """403 without the right to edit the row's project; Unassigned is for administrators."""
        name = call.parts.get("project")
        project = self._state.find_project(row.project if row is not None else name)
        if project is None:
            if not self._state.is_admin(call.login):
                raise StatusError(403)
        elif not self._state.may_edit(call.login, project):
            raise StatusError(403)

    def session(self, call: Call) -> Response:
        """GET, POST (actions), DELETE; and what lies below."""
        row = self._row(call)
        match call.method:
            case "DELETE":
                if call.rest:
                    raise StatusError(400)
                if row is not None:
                    self._rows.delete(row)
                return text("")  # 200 for a missing and for a locked row as well
            case "POST":
                return self._action(call, row)
        kind = call.query("format")
        if kind in ("json", "csv", "single"):
            with self._state.lock:
                return table(call, COLUMNS, [self.cells(row)] if row is not None else [], total=False)
        if kind == "html":
            if "screen" not in call.request.args:
                raise StatusError(500)  # a null pointer
            return text("<html><body>A page for browsers.</body></html>", content_type="text/html")
        if row is not None and kind == "zip":
            return _zipped(row)
        if row is None or row.built is None:
            raise StatusError(404, _NO_SUCH)
        return text(_XML.format(row.name), content_type="text/xml")

    def logs(self, call: Call) -> Response:
        """`/logs`, `/logs/last`, `/logs/{id}`: where the reason of a CONFLICT is."""
        row = self._row(call)
        if row is None:
            raise StatusError(404, _NO_SUCH)
        if call.rest:
            number = len(row.logs) - 1 if call.rest == "last" else int(call.rest) if call.rest.isdecimal() else -1
            if not 0 <= number < len(row.logs):
                raise StatusError(404, _NO_SUCH)
            return text(row.logs[number][1])
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
            return text("")
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
        """`/resources`: a session that comes as DICOM has none of its own here."""
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
        uri = f"/data/prearchive/projects/{row.project or 'Unassigned'}/{row.timestamp}/{row.folder}"
        match action:
            case "set-status":
                status = parameters.get("status", "")
                if status.startswith("_") or not status:
                    raise StatusError(400, "Illegal status")
                row.status = status
                return text("")
            case "reset-status":
                row.status = "RECEIVING"
                return text(uri, content_type="text/uri-list")
            case "move":
                return self._move(call, row, parameters.get("newProject", ""))
        if self._rows.is_locked(row):
            raise StatusError(409, "session document locked")
        return self._build(row, parameters, uri) if action == "build" else self._commit(call, row, parameters, uri)

    def _build(self, row: PrearchiveRow, parameters: dict[str, str], uri: str) -> Response:
        for field, parameter in _BUILD_FIELDS.items():
            setattr(row, field, parameters.get(parameter, getattr(row, field)))
        self._rows.build(row)
        return text(uri, content_type="text/uri-list")  # no CRLF here

    def _move(self, call: Call, row: PrearchiveRow, name: str) -> Response:
        project = self._state.find_project(name)
        if project is None:
            raise StatusError(404, "Unknown project")
        if not self._state.may_edit(call.login, project):
            raise StatusError(403)
        if self._rows.is_locked(row):
            return text("")  # 200 and nothing done
        self._rows.move(row, project.id)
        uri = f"/data/prearchive/projects/{project.id}/{row.timestamp}/{row.folder}"
        return text(uri, 301, "text/uri-list")

    def _commit(self, call: Call, row: PrearchiveRow, parameters: dict[str, str], uri: str) -> Response:
        """Strict append (4.6); a 301 without Location when it was archived."""
        said = parameters.get("AA", parameters.get("auto-archive"))
        owner = self._state.projects.get(row.project or "")
        code = owner.prearchive_code if owner is not None else 0
        archives = row.autoarchive in AUTO or said == "true" or (said is None and code >= 4)
        if not self._rows.build(row):
            raise StatusError(409, "session document locked")
        if not archives:
            return text(uri, content_type="text/uri-list")
        strict = Policy(merge=True, override=False, overwrite_files=False)
        if key := parameters.get("http-session-listener"):
            self._archiving.follow(call, key, row, strict)
            return text("Archival initiated")
        try:
            experiment = self._archiving.timed(row, strict, call.login)
        except ArchiveRefused as refusal:
            raise StatusError(500, f"Operation Failed: {refusal.reason}") from None
        return Response(archiver.archive_uri(self._state, experiment), 301, content_type="text/plain")


def _size(row: PrearchiveRow, file: Received) -> int:
    """Of the file itself, which may have changed since it was catalogued."""
    path = row.directory / file.path
    return path.stat().st_size if path.is_file() else file.size


def _zipped(row: PrearchiveRow) -> Response:
    """The folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(row.directory.rglob("*")):
            if path.is_file():
                archive.write(path, f"{row.folder}/{path.relative_to(row.directory).as_posix()}")
    return Response(out.getvalue(), 200, content_type="application/zip")
