"""Finding the records of a route, with the rights of the caller: 404 for what cannot be read (xnat-api 1.8, 2.4)."""

from __future__ import annotations

from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import Experiment, Project, Scan, Subject
from xnatctl_sandbox.world.state import State


class Lookup:
    """Finds records for handlers."""

    def __init__(self, state: State) -> None:
        self._state = state

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
        """The session of the route: by ID in any project first, then by label (2.4)."""
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
