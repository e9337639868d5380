"""Catalog documents, and refreshing them from what is on disk (contract xnat-api 2.5, 4.8)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from werkzeug import Response

from .answers import Call, StatusError, text
from .state import FileEntry, Resource, State

if TYPE_CHECKING:
    from .server import Sandbox


class Catalogs:
    """`/services/refresh/catalog`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state

    def refresh(self, call: Call) -> Response:
        """`/services/refresh/catalog`: append what is on disk, drop what is not, recompute."""
        parameters = call.parameters()
        options = set(",".join(parameters.get("options", [])).split(","))
        options |= {
            name
            for name in ("append", "delete", "checksum", "populateStats")
            if parameters.get(name, ["false"])[-1] == "true"
        }
        for resource_uri in parameters.get("resource", []):
            for resource in self._addressed(call, resource_uri):
                _refresh(self._state, resource, options)
        self._sandbox.dirty = True
        return text("")

    def _addressed(self, call: Call, uri: str) -> list[Resource]:
        pieces = uri.removeprefix("/data").removeprefix("/archive").strip("/").split("/")
        named = dict(zip(pieces[::2], pieces[1::2], strict=False))
        experiment = self._state.experiments.get(named.get("experiments", ""))
        if experiment is None:
            raise StatusError(404)
        if not self._state.may_edit(call.login, self._state.projects[experiment.project]):
            raise StatusError(403)
        found = list(experiment.resources)
        if "scans" in named:
            found = [r for scan in experiment.scans.values() if scan.id == named["scans"] for r in scan.resources]
        return [r for r in found if "resources" not in named or named["resources"] in (r.label, str(r.pk))]


def _refresh(state: State, resource: Resource, options: set[str]) -> None:
    with state.lock:
        if "append" in options:
            for path in sorted(resource.directory.rglob("*")):
                relative = path.relative_to(resource.directory).as_posix()
                if path.is_file() and relative not in resource.entries:
                    resource.entries[relative] = FileEntry(path=relative, size=path.stat().st_size)
        if "delete" in options:
            for name in [name for name in resource.entries if not (resource.directory / name).is_file()]:
                del resource.entries[name]
        if "checksum" in options:
            for entry in resource.entries.values():
                entry.md5 = hashlib.md5(
                    (resource.directory / entry.path).read_bytes(), usedforsecurity=False
                ).hexdigest()


def catalog_document(resource: Resource) -> str:
    """The catalog document; a DICOM catalog's entries carry UIDs (2.5)."""
    dicom = any(entry.uid for entry in resource.entries.values())
    kind = "DCMCatalog" if dicom else "Catalog"
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    spaces = 'xmlns:cat="http://nrg.wustl.edu/catalog" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    lines.append(f"<cat:{kind} {spaces}>")
    lines.append("<cat:entries>")
    for entry in resource.entries.values():
        attributes = {"URI": entry.path, "name": entry.path, "digest": entry.md5}
        if entry.uid:
            attributes |= {"xsi:type": "cat:dcmEntry", "UID": entry.uid, "instanceNumber": entry.instance_number or ""}
        written = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
        lines.append(f"<cat:entry {written}/>")
    lines.append(f"</cat:entries>\n</cat:{kind}>\n")
    return "\n".join(lines)
