"""Saving and loading the state of a sandbox that keeps its directory."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xnatctl_sandbox.world.records import (
    AliasToken,
    DirectRow,
    Experiment,
    FileEntry,
    PrearchiveRow,
    Project,
    Received,
    Resource,
    Scan,
    ScpInstance,
    Subject,
    User,
)
from xnatctl_sandbox.world.routing_expressions import RoutingExpressions
from xnatctl_sandbox.world.state import State

_FILE = "state.json"
_SCHEMA = 1


def save(state: State) -> None:
    """Write all tables, atomically."""
    with state.lock:
        document = {
            "schema": _SCHEMA,
            "counters": state.counters,
            "users": list(state.users.values()),
            "tokens": list(state.tokens.values()),
            "projects": list(state.projects.values()),
            "subjects": list(state.subjects.values()),
            "experiments": list(state.experiments.values()),
            "prearchive": state.prearchive,
            "direct": state.direct,
            "scps": state.scps,
            "routing": state.routing,
            "series_filter": state.series_filter,
        }
        text = json.dumps(document, default=_plain)
    path = state.directory / _FILE
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, set):
        return sorted(value)
    return str(value) if isinstance(value, Path) else vars(value)


def load(state: State) -> bool:
    """Read what `save` wrote; False when there is nothing. Raises ValueError for a damaged file."""
    path = state.directory / _FILE
    if not path.is_file():
        return False
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != _SCHEMA:
            raise ValueError(document["schema"])
        _fill(state, document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{_FILE} is damaged, or another version of the sandbox wrote it") from error
    return True


def _fill(state: State, document: dict[str, Any]) -> None:
    state.counters.update(document["counters"])
    state.users.update({entry["login"]: User(**entry) for entry in document["users"]})
    state.tokens.update({entry["alias"]: AliasToken(**entry) for entry in document["tokens"]})
    for entry in document["projects"]:
        project = Project(
            **{**entry, "aliases": tuple(entry["aliases"]), "series_filter": tuple(entry["series_filter"])}
        )
        project.resources = [_resource(resource) for resource in entry["resources"]]
        state.projects[project.id] = project
    for entry in document["subjects"]:
        subject = Subject(**entry)
        subject.resources = [_resource(resource) for resource in entry["resources"]]
        state.subjects[subject.id] = subject
    for entry in document["experiments"]:
        state.experiments[entry["id"]] = _experiment(entry)
    state.prearchive.extend(_row(entry) for entry in document["prearchive"])
    state.direct.extend(_direct(entry) for entry in document.get("direct", []))
    state.scps.extend(_scp(entry) for entry in document.get("scps", []))
    state.routing = RoutingExpressions(**document.get("routing", {}))
    state.series_filter = tuple(document.get("series_filter", []))


class Autosave:
    """Writes the state while the sandbox runs, so that a killed one loses little."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.due_at = 0.0  # monotonic seconds

    def run(self) -> None:
        """Save when something has changed; the longer saving takes, the less often."""
        if self._state.dirty and time.monotonic() >= self.due_at:
            self._state.dirty = False
            begun = time.monotonic()
            save(self._state)
            self.due_at = begun + 20 * (time.monotonic() - begun)


def _received(fields: Mapping[str, Any]) -> Received:
    return Received(**{name: value for name, value in fields.items() if name != "frames"})  # of an older sandbox


def _scp(entry: Mapping[str, Any]) -> ScpInstance:
    return ScpInstance(
        **{**entry, "whitelist": tuple(entry["whitelist"]), "routing": RoutingExpressions(**entry["routing"])}
    )


def _resource(entry: Mapping[str, Any]) -> Resource:
    entries = {name: FileEntry(**fields) for name, fields in entry["entries"].items()}
    names = {name: set(entry.get(name, ())) for name in ("unlisted", "uncatalogued")}
    return Resource(**{**entry, **names, "directory": Path(entry["directory"]), "entries": entries})


def _experiment(entry: Mapping[str, Any]) -> Experiment:
    scans = {
        name: Scan(**{**fields, "resources": [_resource(resource) for resource in fields["resources"]]})
        for name, fields in entry["scans"].items()
    }
    resources = [_resource(resource) for resource in entry["resources"]]
    return Experiment(**{**entry, "directory": Path(entry["directory"]), "scans": scans, "resources": resources})


def _direct(entry: Mapping[str, Any]) -> DirectRow:
    files = {name: _received(fields) for name, fields in entry["files"].items()}
    return DirectRow(**{**entry, "directory": Path(entry["directory"]), "files": files})


def _row(entry: Mapping[str, Any]) -> PrearchiveRow:
    files = {name: _received(fields) for name, fields in entry["files"].items()}
    built = None if entry["built"] is None else {name: _received(fields) for name, fields in entry["built"].items()}
    logs = [(stamp, text) for stamp, text in entry["logs"]]
    return PrearchiveRow(
        **{**entry, "directory": Path(entry["directory"]), "files": files, "built": built, "logs": logs}
    )
