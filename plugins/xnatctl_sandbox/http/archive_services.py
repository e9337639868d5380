"""`/services/archive`, `/services/validate-archive`, `/services/prearchive/...` (xnat-import 6.4, 6.5)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from werkzeug import Response

from xnatctl_sandbox.archive.archive_jobs import ArchiveJobs
from xnatctl_sandbox.archive.archiver import Archiver, archive_uri
from xnatctl_sandbox.archive.checks import ArchiveRefused, Policy
from xnatctl_sandbox.archive.prearchive import Prearchive
from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.prearchive_table import COLUMNS, cells, require_edit
from xnatctl_sandbox.http.responses import status_page, uri_list
from xnatctl_sandbox.http.tables import table
from xnatctl_sandbox.world.background import Background
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import PrearchiveRow
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.tracking import Tracking

_URI = re.compile(r"(/data|/REST)?/prearchive/projects/[^/]+/[^/]+/[^/]+/?")
_KINDS = {409: "CONFLICT", 400: "FAIL"}


class ArchiveServices:
    """Handlers of these services."""

    def __init__(
        self,
        state: State,
        prearchive: Prearchive,
        archiver: Archiver,
        jobs: ArchiveJobs,
        tracking: Tracking,
        background: Background,
    ) -> None:
        self._state = state
        self._rows = prearchive
        self._archiver = archiver
        self._jobs = jobs
        self._tracking = tracking
        self._background = background

    def archive(self, call: Call) -> Response:
        """Archive. One source is always merged, and `append` overrides as `delete` does (6.4)."""
        parameters = call.parameters()
        rows = self._sources(call, parameters)
        if len(rows) > 1:
            return self._archive_many(call, rows, parameters)
        (row,) = rows
        if self._rows.is_locked(row):
            raise StatusError(403, "Operation already in progress on this prearchive entry.")
        said = {key: values[-1] for key, values in parameters.items() if values}
        if row.built is None:
            self._rows.build(row)
        override = said.get("overwrite") in ("append", "delete")
        policy = Policy(merge=True, override=override, overwrite_files=row.auto_overwrites)
        subject, label = _names(said)
        if key := said.get("http-session-listener"):
            listener = self._tracking.begin(key, call.login, call.status_lists)
            self._jobs.start(row, policy, call.login, listener, subject=subject, label=label)
            return self._elsewhere("/app/template/XDATScreen_prearchives.vm")
        try:
            experiment = self._jobs.wait(row, policy, call.login, subject=subject, label=label)
        except ArchiveRefused as refusal:
            return status_page(500, f"FAILED: Unable to archive {row.folder}: Operation Failed: {refusal.reason}")
        uri = archive_uri(self._state, experiment)
        auto = said.get("auto-archive", said.get("AA"))
        owner = self._state.projects[experiment.project]
        if said.get("redirect") == "true" or (auto is None and owner.prearchive_code >= 4):
            return self._elsewhere(uri)
        return uri_list([uri])

    def _elsewhere(self, path: str) -> Response:
        """303 to a path below the configured URL of the site."""
        return Response("", 303, {"Location": f"{self._state.site['siteUrl']}{path}"})

    def _sources(self, call: Call, parameters: Mapping[str, list[str]]) -> list[PrearchiveRow]:
        """The rows of `src`, which may be repeated but has no commas, or of triples."""
        sources = list(parameters.get("src", []))
        triples = zip(
            parameters.get("project", []), parameters.get("PREARC_TIMESTAMP", []),
            parameters.get("PREARC_SESSION_FOLDER", []), strict=False,
        )  # fmt: skip
        sources += [f"/prearchive/projects/{p}/{t}/{f}" for p, t, f in triples]
        if not sources:
            raise StatusError(404, "Unknown prearchive session.")
        return [self._source(call, source) for source in sources]

    def _source(self, call: Call, source: str) -> PrearchiveRow:
        if not _URI.fullmatch(source):
            raise StatusError(400, "Invalid src URI")
        if "/Unassigned/" in source:
            raise StatusError(400, "Cannot archive sessions from the Unassigned folder.")
        row = self._rows.find_uri(source)
        if row is None:
            raise StatusError(404, f"{source} not found.")
        if not self._state.may_edit(call.login, self._state.projects[row.project or ""]):
            raise StatusError(403, "Invalid permissions for new project.")
        return row

    def _archive_many(self, call: Call, rows: list[PrearchiveRow], parameters: Mapping[str, list[str]]) -> Response:
        """Answer 200 at once and archive several rows in the background; `overwrite` is the policy as it stands."""
        overwrite = (parameters.get("overwrite") or [""])[-1]
        files = (parameters.get("overwrite_files") or [""])[-1] == "true"
        policy = Policy(merge=overwrite in ("append", "delete"), override=overwrite == "delete", overwrite_files=files)

        def work() -> None:
            for row in rows:
                self._rows.build(row)
                try:
                    self._archiver.archive(row, policy, login=call.login)
                except ArchiveRefused:
                    continue  # the row says why

        answer = table(call, COLUMNS, [cells(self._state.clock, row) for row in rows], total=False)
        self._background.run(work)
        return answer

    def validate(self, call: Call) -> Response:
        """Run the archiver's checks for one session, without archiving."""
        parameters = call.parameters()
        (row, *more) = self._sources(call, parameters)
        if more:
            raise StatusError(400, "Only one session can be validated.")
        subject, label = _names({key: values[-1] for key, values in parameters.items() if values})
        found = self._archiver.validate(row, subject=subject, label=label)
        lines = [
            {"code": number, "type": _KINDS.get(refusal.status, "FAIL"), "message": refusal.reason}
            for number, refusal in enumerate(found, 1)
        ]
        return table(call, ("code", "type", "message"), lines)

    def batch(self, call: Call) -> Response:
        """`delete`, `move`, `rebuild`: always in the background (6.5)."""
        parameters = call.parameters()
        operation = call.parts["operation"]
        status = {"delete": "QUEUED_DELETING", "move": "QUEUED_MOVING", "rebuild": "QUEUED_BUILDING"}.get(operation)
        if status is None:
            raise StatusError(404)
        rows = self._batched(call, parameters.get("src", []))
        project = self._state.find_project((parameters.get("newProject") or [""])[-1])
        if operation == "move":
            if project is None:
                raise StatusError(404, "Unknown project")
            if not self._state.may_edit(call.login, project):
                raise StatusError(403)
        for row in rows:
            row.status = status
        answer = table(call, COLUMNS, [cells(self._state.clock, row) for row in rows], total=False)

        def work() -> None:
            for row in rows:
                if operation == "delete":
                    self._rows.delete(row)
                elif operation == "move" and project is not None:
                    self._rows.move(row, project.id)
                else:
                    self._rows.build(row)

        self._background.run(work)
        return answer

    def _batched(self, call: Call, sources: list[str]) -> list[PrearchiveRow]:
        """The rows of the sources; a malformed source is an error, missing and locked rows are skipped in silence."""
        if any(not _URI.fullmatch(source) for source in sources):
            raise StatusError(500)
        rows = [row for source in sources if (row := self._rows.find_uri(source)) is not None]
        for row in rows:
            require_edit(self._state, call, row)
        return [row for row in rows if not self._rows.is_locked(row)]


def _names(said: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Subject and label, also named by XML path such as `xnat:mrSessionData/label`."""
    paths = {key.rpartition("/")[2]: value for key, value in said.items() if key.startswith("xnat:")}
    subject = said.get("subject") or paths.get("subject_ID")
    return subject, said.get("session") or said.get("label") or said.get("EXPT_LABEL") or paths.get("label")
