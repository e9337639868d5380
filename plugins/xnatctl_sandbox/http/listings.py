"""Tables of projects, subjects, sessions and scans (xnat-api 2)."""

from __future__ import annotations

from typing import Any

from werkzeug import Response

from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.creating import Creating
from xnatctl_sandbox.http.lookup import Lookup
from xnatctl_sandbox.http.tables import matches, table
from xnatctl_sandbox.world.records import Experiment, Scan
from xnatctl_sandbox.world.state import State

_PROJECT = ("ID", "secondary_ID", "name", "description", "pi_firstname", "pi_lastname", "URI")
_SUBJECT = ("ID", "project", "label", "insert_date", "insert_user", "URI")
_EXPERIMENT = ("ID", "project", "date", "xsiType", "label", "insert_date", "URI")
#: Parameters that turn the list of projects into the search engine's.
_FILTERED = frozenset({"accessible", "owner", "member", "collaborator", "recent", "favorite", "data", "prearc_code"})
_FILTERED_COLUMNS = ("id", "name", "description", "secondary_id", "project_access", "insert_date")
_SCAN = ("xnat_imagescandata_id", "ID", "type", "quality", "xsiType", "note", "series_description", "URI")


class Listings:
    """Handlers of tables; POST creates a record."""

    def __init__(self, state: State, lookup: Lookup, creating: Creating) -> None:
        self._state = state
        self._lookup = lookup
        self._creating = creating

    def projects(self, call: Call) -> Response:
        """`/projects`, with `restrict=edit` those that may be edited; POST creates one."""
        if call.method == "POST":
            return self._creating.post_project(call)
        state = self._state
        rights = {"edit": state.may_edit, "delete": state.may_delete}
        right = rights.get(call.query("restrict"), state.may_read)  # all of them for administrators anyway
        if _FILTERED & set(call.request.args):
            return self._filtered_projects(call)
        with state.lock:
            rows = [
                {
                    "ID": p.id,
                    "secondary_ID": p.id,
                    "name": p.name or p.id,
                    "description": p.description,
                    "URI": f"/data/projects/{p.id}",
                }
                for p in state.projects.values()
                if right(call.login, p)
            ]
        return self._table(call, _PROJECT, rows, "Projects")

    def _filtered_projects(self, call: Call) -> Response:
        """The table of the search engine: other column names, all in lower case, no URI (2.2)."""
        state = self._state
        wanted = {role for role in ("owner", "member", "collaborator") if call.flag(role)}
        edits = call.query("data") == "writable"
        with state.lock:
            rows = [
                {
                    "id": p.id, "name": p.name or p.id, "description": p.description, "secondary_id": p.id,
                    "project_access": p.accessibility, "insert_date": state.clock.sql(p.inserted),
                    f"user_role_{call.login}": p.roles.get(call.login or "", ""),
                }
                for p in state.projects.values()
                if (state.may_edit if edits else state.may_read)(call.login, p)
                and (not wanted or p.roles.get(call.login or "") in wanted)
                and call.query("prearc_code", str(p.prearchive_code)) == str(p.prearchive_code)
            ]  # fmt: skip
        columns = (*_FILTERED_COLUMNS, f"user_role_{call.login}")
        return table(call, columns, rows, title="Projects")

    def subjects(self, call: Call) -> Response:
        """`/subjects` and `/projects/P/subjects`; POST to the latter creates one."""
        if call.method == "POST":
            return self._creating.post_subject(call)
        state = self._state
        project = self._lookup.project(call).id if "project" in call.parts else None
        with state.lock:
            rows = [
                {
                    "ID": s.id, "project": s.project, "label": s.label, "insert_date": state.clock.sql(s.inserted),
                    "insert_user": s.inserted_by, "URI": f"/data/subjects/{s.id}", **s.fields,
                }
                for s in state.subjects.values()
                if (project is None or s.project == project) and state.may_read(call.login, state.projects[s.project])
            ]  # fmt: skip
        return self._table(call, _SUBJECT, rows, "Subjects", paged=True)

    def experiments(self, call: Call) -> Response:
        """`/experiments`, of a project, or of a subject."""
        state = self._state
        subject = self._lookup.subject(call).id if "subject" in call.parts else None
        project = self._lookup.project(call).id if "project" in call.parts else None
        with state.lock:
            rows = [
                self._experiment_cells(e)
                for e in state.experiments.values()
                if (project is None or e.project == project)
                and (subject is None or e.subject_id == subject)
                and state.may_read(call.login, state.projects[e.project])
            ]
        columns = _EXPERIMENT if project is not None else (*_EXPERIMENT[:-1], "subject_ID", "subject_label", "URI")
        return self._table(call, columns, rows, "Matching experiments", paged=True)

    def scan_list(self, call: Call) -> Response:
        """`/experiments/E/scans`."""
        experiment = self._lookup.experiment(call)
        with self._state.lock:
            rows = [self._scan_cells(experiment, scan) for scan in experiment.scans.values()]
        return self._table(call, _SCAN, rows, "")

    def _experiment_cells(self, experiment: Experiment) -> dict[str, Any]:
        subject = self._state.subjects[experiment.subject_id]
        stamp = self._state.clock.sql(experiment.inserted)
        return {
            "ID": experiment.id,
            "project": experiment.project,
            "date": experiment.date,
            "xsiType": experiment.xsi_type,
            "label": experiment.label,
            "insert_date": stamp,
            "last_modified": stamp,
            "subject_ID": subject.id,
            "subject_label": subject.label,
            "UID": experiment.uid,
            "studyInstanceUID": experiment.uid,
            "modality": experiment.modality,
            "URI": f"/data/experiments/{experiment.id}",
        }

    @staticmethod
    def _scan_cells(experiment: Experiment, scan: Scan) -> dict[str, Any]:
        return {
            "xnat_imagescandata_id": scan.pk,
            "ID": scan.id,
            "type": scan.type,
            "quality": scan.quality,
            "xsiType": scan.xsi_type,
            "note": scan.note,
            "series_description": scan.series_description,
            "UID": scan.uid,
            "frames": scan.frames or "",
            "modality": scan.modality,
            "URI": f"/data/experiments/{experiment.id}/scans/{scan.id}",
        }

    @staticmethod
    def _table(
        call: Call, defaults: tuple[str, ...], rows: list[dict[str, Any]], title: str, *, paged: bool = False
    ) -> Response:
        """A table; `columns=` chooses, other column names filter, unknown names are ignored (2.1)."""
        known = {name.lower(): name for row in rows[:1] for name in row} | {name.lower(): name for name in defaults}
        filters = {known[key.lower()]: call.query(key) for key in call.request.args if key.lower() in known}
        rows = [row for row in rows if matches(row, filters)]
        asked = [
            known[name.strip().lower()] for name in call.query("columns").split(",") if name.strip().lower() in known
        ]
        columns = [*dict.fromkeys(asked), "URI"] if asked and "URI" not in asked else asked
        return table(call, columns or defaults, rows, title=title, paged=paged)

    def search_elements(self, call: Call) -> Response:
        """`/search/elements[/TYPE]`: the data types that hold something, or the fields of one.

        Both Python clients ask for it; the field list is short here.
        """
        if call.rest:
            fields = [{"FIELD_ID": name, "HEADER": name, "TYPE": "string"} for name in ("ID", "LABEL", "PROJECT")]
            return table(call, ("FIELD_ID", "HEADER", "TYPE"), fields)
        with self._state.lock:
            kinds = {"xnat:projectData", "xnat:subjectData", *(e.xsi_type for e in self._state.experiments.values())}
        rows = [{"ELEMENT_NAME": kind, "SINGULAR": kind.partition(":")[2], "SECURED": "true"} for kind in sorted(kinds)]
        return table(call, ("ELEMENT_NAME", "SINGULAR", "SECURED"), rows)
