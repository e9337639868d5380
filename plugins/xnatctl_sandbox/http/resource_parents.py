"""Parents of resources: projects, subjects, sessions, scans, by route or by URI (xnat-api 2.4, 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.lookup import Lookup
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import Experiment, Project, Resource, Scan, Subject
from xnatctl_sandbox.world.state import State


@dataclass
class ResourceParent:
    """A project, subject, session or scan with its resources.

    `directory` holds a folder for each resource; `uri` has IDs and never labels (2.5).
    """

    owner: Project | Subject | Experiment | Scan
    resources: list[Resource]
    directory: Path
    project: str
    uri: str


def of_experiment(experiment: Experiment) -> ResourceParent:
    """A session as parent."""
    directory = experiment.directory / "RESOURCES"
    return ResourceParent(
        experiment, experiment.resources, directory, experiment.project, f"/data/experiments/{experiment.id}"
    )


def of_scan(experiment: Experiment, scan: Scan) -> ResourceParent:
    """A scan as parent."""
    uri = f"/data/experiments/{experiment.id}/scans/{scan.id}"
    return ResourceParent(scan, scan.resources, experiment.directory / "SCANS" / scan.id, experiment.project, uri)


def of_subject(state: State, subject: Subject) -> ResourceParent:
    """A subject as parent."""
    place = state.directory / "archive" / subject.project / "subjects" / subject.label
    return ResourceParent(subject, subject.resources, place, subject.project, f"/data/subjects/{subject.id}")


def of_project(state: State, project: Project) -> ResourceParent:
    """A project as parent."""
    place = state.directory / "archive" / project.id / "resources"
    return ResourceParent(project, project.resources, place, project.id, f"/data/projects/{project.id}")


def named(parent: ResourceParent, name: str) -> Resource | None:
    """A resource by label, or by number when the name is digits. Raises StatusError 403 for an unknown number (2.4)."""
    if name.isdecimal():
        found = next((resource for resource in parent.resources if str(resource.pk) == name), None)
        if found is None:
            raise StatusError(403)
        return found
    return next((resource for resource in parent.resources if resource.label == name), None)


class ResourceParents:
    """Finds parents of resources."""

    def __init__(self, state: State, lookup: Lookup) -> None:
        self._state = state
        self._lookup = lookup

    def all(self, call: Call) -> list[ResourceParent]:
        """The parents that a route names: several for `scans/ALL`, none for a scan that does not exist."""
        if "experiment" in call.parts:
            experiment = self._lookup.experiment(call)
            if "scan" not in call.parts:
                return [of_experiment(experiment)]
            return [of_scan(experiment, scan) for scan in self._lookup.scans(call, experiment)]
        if "subject" in call.parts:
            return [of_subject(self._state, self._lookup.subject(call))]
        return [of_project(self._state, self._lookup.project(call))]

    def one(self, call: Call) -> ResourceParent:
        """The one parent that a route names. Raises StatusError 404 otherwise."""
        parents = self.all(call)
        if len(parents) != 1:
            raise StatusError(404, "Unable to identify scan")
        return parents[0]

    def subject_instead(self, call: Call) -> ResourceParent:
        """The parent for an unknown scan: the subject of the path (2.5). Raises StatusError 500 without one."""
        if "subject" not in call.parts:
            raise StatusError(500)
        return of_subject(self._state, self._lookup.subject(call))

    def at(self, uri: str) -> list[tuple[ResourceParent, Resource]]:
        """The resources below an archive URI, with those of scans. Raises StatusError 400 or 404."""
        pieces = uri.removeprefix("/data").removeprefix("/REST").removeprefix("/archive").strip("/").split("/")
        names = dict(zip(pieces[::2], pieces[1::2], strict=False))
        if len(pieces) % 2 or set(names) - {"projects", "subjects", "experiments", "scans", "resources"}:
            raise StatusError(400, f"Invalid Resource URI:{uri}")
        found = [
            (parent, resource)
            for parent in self._addressed(names)
            for resource in parent.resources
            if "resources" not in names or names["resources"] in (resource.label, str(resource.pk))
        ]
        if "resources" in names and not found:
            raise StatusError(404, f"Unable to identify {uri}")
        return found

    def _addressed(self, names: Mapping[str, str]) -> Iterable[ResourceParent]:
        state = self._state
        project = state.find_project(names.get("projects"))
        if "experiments" in names:
            experiment = state.find_experiment(project.id if project else None, names["experiments"])
            if experiment is None:
                raise StatusError(404, f"Unable to identify experiment {names['experiments']}")
            scans = [of_scan(experiment, s) for s in experiment.scans.values() if names.get("scans", s.id) == s.id]
            return scans if "scans" in names else [of_experiment(experiment), *scans]
        if "subjects" in names:
            name = names["subjects"]
            subject = state.find_subject(project.id, name) if project else state.subjects.get(name)
            if subject is None:
                raise StatusError(404, f"Unable to identify subject {name}")
            return [of_subject(state, subject)]
        if project is None:
            raise StatusError(404, f"Unable to identify project {names.get('projects', '')}")
        return [of_project(state, project)]
