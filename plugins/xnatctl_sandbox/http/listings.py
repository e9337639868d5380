"""Projects, subjects, sessions and scans: tables and items (xnat-api 2, 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from werkzeug import Response

from xnatctl_sandbox.http.creating import Creating
from xnatctl_sandbox.http.responses import Call, StatusError, answer_json, matches, table, text
from xnatctl_sandbox.world.state import Experiment, Project, Scan, Subject

if TYPE_CHECKING:
    from xnatctl_sandbox.server import Sandbox

_PROJECT = ("ID", "secondary_ID", "name", "description", "pi_firstname", "pi_lastname", "URI")
_SUBJECT = ("ID", "project", "label", "insert_date", "insert_user", "URI")
_EXPERIMENT = ("ID", "project", "date", "xsiType", "label", "insert_date", "URI")
#: Parameters that turn the list of projects into the search engine's.
_FILTERED = frozenset({"accessible", "owner", "member", "collaborator", "recent", "favorite", "data", "prearc_code"})
_FILTERED_COLUMNS = ("id", "name", "description", "secondary_id", "project_access", "insert_date")
_SCAN = ("xnat_imagescandata_id", "ID", "type", "quality", "xsiType", "note", "series_description", "URI")


class Listings:
    """Handlers of listings and items, and of what creates them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state
        self.creating = Creating(sandbox, self)

    # look-ups with rights: 404 for what cannot be read (1.8)

    def project(self, call: Call) -> Project:
        """The project of the route."""
        project = self._state.find_project(call.parts["project"])
        if project is None or not self._state.may_read(call.login, project):
            raise StatusError(404, f"Unable to identify project {call.parts['project']}")
        return project

    def subject(self, call: Call) -> Subject:
        """The subject of the route: by label in a project, by ID alone."""
        name = call.parts["subject"]
        if "project" in call.parts:
            found = self._state.find_subject(self.project(call).id, name)
        else:
            found = self._state.subjects.get(name)
        if found is None or not self._state.may_read(call.login, self._state.projects[found.project]):
            raise StatusError(404, f"Unable to find subject {name}. Without a project, an ID is needed.")
        return found

    def experiment(self, call: Call) -> Experiment:
        """The session of the route: the ID first, without a look at the project, then the label (2.4)."""
        project = self.project(call).id if "project" in call.parts else None
        found = self._state.find_experiment(project, call.parts["experiment"])
        if found is None or not self._state.may_read(call.login, self._state.projects[found.project]):
            raise StatusError(404, "Unable to find the specified experiment.")
        return found

    def scans(self, call: Call, experiment: Experiment) -> list[Scan]:
        """The scans of the route: ID, else type; a comma list; `*` or `ALL`; `NULL` = of no type (2.4)."""
        wanted = call.parts["scan"]
        every = list(experiment.scans.values())
        if wanted in ("*", "ALL"):
            return every
        found: list[Scan] = []
        for name in wanted.split(","):
            kind = "" if name == "NULL" else name.replace("[SLASH]", "/").replace("[COMMA]", ",")
            found += [scan for scan in every if scan.id == name] or [scan for scan in every if scan.type == kind]
        return found

    # tables

    def projects(self, call: Call) -> Response:
        """`/projects`, with `restrict=edit` those that may be edited; POST creates one."""
        if call.method == "POST":
            return self.creating.post_project(call)
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
        """The search engine's table: other names, all lower case, no URI (2.2)."""
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
            return self.creating.post_subject(call)
        state = self._state
        project = self.project(call).id if "project" in call.parts else None
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
        subject = self.subject(call).id if "subject" in call.parts else None
        project = self.project(call).id if "project" in call.parts else None
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
        experiment = self.experiment(call)
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
        """`columns=` chooses, any other shortcut filters; what is not known is dropped without a word (2.1)."""
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

    # items: HTML comes first, so `format=json` must be said (2.1)

    def project_item(self, call: Call) -> Response:
        """GET, and PUT which creates."""
        if call.method == "PUT":
            return self.creating.put_project(call)
        project = self.project(call)
        return self._item(call, "xnat:projectData", {"ID": project.id, "name": project.name or project.id})

    def subject_item(self, call: Call) -> Response:
        """GET, PUT; with a project GET tries the ID first, whatever its project (2.4)."""
        if call.method == "PUT":
            return self.creating.put_subject(call)
        subject = self._state.subjects.get(call.parts["subject"])
        if subject is None or not self._state.may_read(call.login, self._state.projects[subject.project]):
            subject = self.subject(call)
        fields = {"ID": subject.id, "label": subject.label, "project": subject.project, **subject.fields}
        return self._item(call, "xnat:subjectData", fields)

    def experiment_item(self, call: Call) -> Response:
        """GET, PUT, DELETE; an unknown suffix comes here too and gets the whole item (0.4)."""
        if call.method == "PUT":
            return self.creating.put_experiment(call)
        experiment = self.experiment(call)
        if call.method == "DELETE":
            if call.rest:
                raise StatusError(400)  # an unrouted suffix is not the session (0.4)
            if not self._state.may_delete(call.login, self._state.projects[experiment.project]):
                raise StatusError(403)
            self._sandbox.remove_experiment(experiment)
            return text("")
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
        experiment = self.experiment(call)
        if call.method == "PUT":
            return self.creating.put_scan(call, experiment)
        found = self.scans(call, experiment)
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
                return answer_json({"items": [item]})
            case "xml":
                attributes = " ".join(
                    f'{key}="{value}"' for key, value in item["data_fields"].items() if "/" not in key
                )
                kind = item["meta"]["xsi:type"].partition(":")[2].removesuffix("Data")
                head = '<?xml version="1.0" encoding="UTF-8"?>\n'
                return text(
                    f'{head}<xnat:{kind[0].upper()}{kind[1:]} xmlns:xnat="http://nrg.wustl.edu/xnat" {attributes}/>\n',
                    content_type="text/xml",
                )
        return text("<html><body>A page for browsers.</body></html>", content_type="text/html")


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
