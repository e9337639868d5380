"""Prearchive and archive services (contract xnat-import 6)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from werkzeug import Response

from . import archiver
from .answers import Call, StatusError, status_page, table, text, uri_list
from .prearchive import AUTO, Prearchive
from .state import Experiment, PrearchiveRow, Received

if TYPE_CHECKING:
    from .server import Sandbox

_COLUMNS = (
    "project", "timestamp", "lastmod", "uploaded", "scan_date", "scan_time", "subject", "folderName", "name", "tag",
    "status", "url", "autoarchive", "prevent_anon", "prevent_auto_commit", "SOURCE", "VISIT", "PROTOCOL", "TIMEZONE",
)  # fmt: skip
_XML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<xnat:ImageSession xmlns:xnat="http://nrg.wustl.edu/xnat" label="{}"/>\n'
)


class PrearchiveRest:
    """Handlers for `/prearchive/...` and `/services/archive` and its siblings."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state
        self._rows: Prearchive = sandbox.prearchive
        self.threads: list[threading.Thread] = []

    # listings, contract section 6.1

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
            return table(call, _COLUMNS, [self._cells(row) for row in rows], total=False)

    def _visible(self, call: Call, row: PrearchiveRow, wanted: set[str] | None) -> bool:
        if row.project is None:
            return self._state.is_admin(call.login)
        project = self._state.projects[row.project]
        if wanted is not None:
            return row.project in wanted
        return self._state.may_edit(call.login, project)

    def _cells(self, row: PrearchiveRow) -> dict[str, object]:
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

    # one session, contract section 6.2

    def _row(self, call: Call) -> PrearchiveRow | None:
        row = self._rows.find(call.parts["project"], call.parts["timestamp"], call.parts["folder"])
        self._require_edit(call, row)
        return row

    def _require_edit(self, call: Call, row: PrearchiveRow | None) -> None:
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
                if row is not None:
                    self._rows.delete(row)
                return text("")  # 200 for a missing and for a locked row as well
            case "POST":
                return self._action(call, row)
        if call.query("format") in ("json", "csv"):
            with self._state.lock:
                return table(call, _COLUMNS, [self._cells(row)] if row is not None else [], total=False)
        if row is None or row.built is None:
            raise StatusError(404, "Unable to locate prearc resource.")
        return text(_XML.format(row.name), content_type="text/xml")

    def logs(self, call: Call) -> Response:
        """`/logs`, `/logs/last`, `/logs/{id}`: where the reason of a CONFLICT is."""
        row = self._row(call)
        if row is None:
            raise StatusError(404, "Unable to locate prearc resource.")
        if call.rest:
            number = len(row.logs) - 1 if call.rest == "last" else int(call.rest) if call.rest.isdecimal() else -1
            if not 0 <= number < len(row.logs):
                raise StatusError(404, "Unable to locate prearc resource.")
            return text(row.logs[number][1])
        lines = [
            {"id": number, "date": self._state.clock.sql(stamp), "entry": entry}
            for number, (stamp, entry) in enumerate(row.logs)
        ]
        return table(call, ("id", "date", "entry"), lines, total=False)

    def scans(self, call: Call) -> Response:
        """`/scans`, `/scans/N/resources`, `/scans/N/resources/R/files[/name]`; only of a built session."""
        row = self._row(call)
        if row is None or row.built is None:
            raise StatusError(404, "Unable to locate prearc resource.")
        pieces = [piece for piece in call.rest.split("/") if piece]
        groups: dict[str, list[Received]] = {}
        for file in row.built.values():
            groups.setdefault(file.scan, []).append(file)
        if not pieces:
            rows = [
                {
                    "ID": scan,
                    "xsiType": archiver.scan_type(files[0].modality),
                    "series_description": files[0].series_description,
                }
                for scan, files in groups.items()
            ]
            return table(call, ("ID", "xsiType", "series_description"), rows)
        files = groups.get(pieces[0])
        if files is None:
            raise StatusError(404, "Unable to locate prearc resource.")
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
                {"Name": name, "Size": file.size, "URI": f"{base}/resources/DICOM/files/{name}"}
                for file in files
                for name in [file.path.rpartition("/")[2]]
            ]
            return table(call, ("Name", "Size", "URI"), listed)
        raise StatusError(404, "Unable to locate prearc resource.")

    # actions, contract section 6.3

    def _action(self, call: Call, row: PrearchiveRow | None) -> Response:
        parameters = {key: values[-1] for key, values in call.parameters().items() if values}
        action = parameters.get("action")
        if action is None:
            raise StatusError(400, "No action parameter passed.")
        if action not in ("build", "reset-status", "move", "commit", "set-status"):
            raise StatusError(400, f"Unsupported action {action}")
        if row is None:
            raise StatusError(404, "Unable to locate prearc resource.")
        uri = f"/data/prearchive/projects/{row.project or 'Unassigned'}/{row.timestamp}/{row.folder}"
        if action == "set-status":
            status = parameters.get("status", "")
            if status.startswith("_") or not status:
                raise StatusError(400, "Illegal status")
            row.status = status
            return text("")
        if action == "reset-status":
            row.status = "RECEIVING"
            return text(uri, content_type="text/uri-list")
        if action == "move":
            return self._move(call, row, parameters.get("newProject", ""))
        if self._rows.is_locked(row):
            raise StatusError(409, "session document locked")
        if action == "build":
            self._rows.build(row)
            return text(uri, content_type="text/uri-list")  # no CRLF here
        return self._commit(call, row, parameters, uri)

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
        try:
            experiment = self._timed(row, call.login, merge=True, override=False, overwrite_files=False)
        except archiver.ArchiveRefused as refusal:
            raise StatusError(500, f"Operation Failed: {refusal.reason}") from None
        return Response(archiver.archive_uri(self._state, experiment), 301, content_type="text/plain")

    # services, contract section 6.4, 6.5

    def archive(self, call: Call) -> Response:
        """`POST /services/archive`: with one source a merge is always tried, and `append` overrides too."""
        parameters = call.parameters()
        sources = list(parameters.get("src", []))
        triples = zip(
            parameters.get("project", []), parameters.get("PREARC_TIMESTAMP", []),
            parameters.get("PREARC_SESSION_FOLDER", []), strict=False,
        )  # fmt: skip
        sources += [f"/prearchive/projects/{p}/{t}/{f}" for p, t, f in triples]
        if not sources:
            raise StatusError(404, "Unknown prearchive session.")
        if any("prearchive" not in source for source in sources):
            raise StatusError(400, "Invalid src URI")
        rows = [self._source(call, source) for source in sources]
        if len(rows) > 1:
            return self._archive_many(call, rows, parameters)
        (row,) = rows
        if self._rows.is_locked(row):
            raise StatusError(403, "Operation already in progress on this prearchive entry.")
        said = {key: values[-1] for key, values in parameters.items() if values}
        if row.built is None:
            self._rows.build(row)
        try:
            experiment = self._timed(
                row, call.login, merge=True, override=said.get("overwrite") in ("append", "delete"),
                overwrite_files=row.autoarchive == AUTO[1], subject=said.get("subject"),
                label=said.get("session") or said.get("label") or said.get("EXPT_LABEL"),
            )  # fmt: skip
        except archiver.ArchiveRefused as refusal:
            reason = f"FAILED: Unable to archive {row.folder}: Operation Failed: {refusal.reason}"
            return status_page(500, reason)
        uri = archiver.archive_uri(self._state, experiment)
        auto = said.get("auto-archive", said.get("AA"))
        owner = self._state.projects[experiment.project]
        if said.get("redirect") == "true" or (auto is None and owner.prearchive_code >= 4):
            return Response("", 303, {"Location": f"{self._state.site['siteUrl']}{uri}"})
        return uri_list([uri])

    def _source(self, call: Call, source: str) -> PrearchiveRow:
        if "/Unassigned/" in source:
            raise StatusError(400, "Cannot archive sessions from the Unassigned folder.")
        row = self._rows.find_uri(source)
        if row is None:
            raise StatusError(404, f"{source} not found.")
        if not self._state.may_edit(call.login, self._state.projects[row.project or ""]):
            raise StatusError(403, "Invalid permissions for new project.")
        return row

    def _timed(
        self,
        row: PrearchiveRow,
        login: str | None,
        *,
        merge: bool,
        override: bool,
        overwrite_files: bool,
        subject: str | None = None,
        label: str | None = None,
    ) -> Experiment:
        """Through the queue: after `sessionArchiveTimeoutInterval` the answer is 500 and the job goes on."""
        done: list[Experiment | archiver.ArchiveRefused] = []

        def work() -> None:
            try:
                done.append(
                    self._sandbox.archiver.archive(
                        row, login=login, merge=merge, override=override, overwrite_files=overwrite_files,
                        subject=subject, label=label,
                    )
                )  # fmt: skip
            except archiver.ArchiveRefused as refusal:
                done.append(refusal)

        thread = threading.Thread(target=work, name="sandbox-archive", daemon=True)
        self.threads.append(thread)
        thread.start()
        thread.join(float(str(self._state.site["sessionArchiveTimeoutInterval"])))
        if not done:
            raise StatusError(500, "The archive operation did not complete within the configured timeout interval.")
        if isinstance(done[0], archiver.ArchiveRefused):
            raise done[0]
        return done[0]

    def _archive_many(self, call: Call, rows: list[PrearchiveRow], parameters: dict[str, list[str]]) -> Response:
        """Several: 200 at once with the rows, archived in the background, the policy as it is named."""
        overwrite = (parameters.get("overwrite") or [""])[-1]

        def work() -> None:
            for row in rows:
                self._rows.build(row)
                try:
                    self._sandbox.archiver.archive(
                        row, login=call.login, merge=overwrite in ("append", "delete"), override=overwrite == "delete",
                        overwrite_files=(parameters.get("overwrite_files") or [""])[-1] == "true",
                    )  # fmt: skip
                except archiver.ArchiveRefused:
                    continue  # the row says why

        thread = threading.Thread(target=work, name="sandbox-archive", daemon=True)
        self.threads.append(thread)
        answer = table(call, _COLUMNS, [self._cells(row) for row in rows], total=False)
        thread.start()
        return answer

    def batch(self, call: Call) -> Response:
        """`/services/prearchive/delete|move|rebuild`: always in the background (6.5)."""
        parameters = call.parameters()
        operation = call.parts["operation"]
        rows = [row for source in parameters.get("src", []) if (row := self._rows.find_uri(source)) is not None]
        for row in rows:
            self._require_edit(call, row)
        rows = [row for row in rows if not self._rows.is_locked(row)]
        project = self._state.find_project((parameters.get("newProject") or [""])[-1])
        status = {"delete": "QUEUED_DELETING", "move": "QUEUED_MOVING", "rebuild": "QUEUED_BUILDING"}.get(operation)
        if status is None or (operation == "move" and project is None):
            raise StatusError(404)
        for row in rows:
            row.status = status
        answer = table(call, _COLUMNS, [self._cells(row) for row in rows], total=False)

        def work() -> None:
            for row in rows:
                if operation == "delete":
                    self._rows.delete(row)
                elif operation == "move" and project is not None:
                    self._rows.move(row, project.id)
                else:
                    self._rows.build(row)

        thread = threading.Thread(target=work, name="sandbox-batch", daemon=True)
        self.threads.append(thread)
        thread.start()
        return answer
