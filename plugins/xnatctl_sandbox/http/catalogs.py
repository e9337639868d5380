"""Catalog documents, and refreshing them from what is on disk (xnat-api 2.5, 4.8)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from xml.sax.saxutils import quoteattr

from werkzeug import Response

from xnatctl_sandbox.http.call import Call, is_true
from xnatctl_sandbox.http.resource_parents import ResourceParents
from xnatctl_sandbox.http.responses import text_response
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import FileEntry, Resource
from xnatctl_sandbox.world.state import State

_OPERATIONS = ("append", "delete", "checksum", "populateStats")


class Catalogs:
    """`/services/refresh/catalog`."""

    def __init__(self, state: State, parents: ResourceParents) -> None:
        self._state = state
        self._parents = parents

    def refresh(self, call: Call) -> Response:
        """Append, delete or recompute entries; `options` and single parameters mean the same."""
        parameters = call.parameters()
        asked = {option.strip() for value in parameters.get("options", []) for option in value.split(",")}
        asked |= {name for name in _OPERATIONS if name in parameters and is_true(parameters[name][-1])}
        if not parameters.get("resource"):
            raise StatusError(400, "Please specify a resource to refresh.")
        for uri in parameters["resource"]:
            for parent, resource in self._parents.at(uri):
                if not self._state.may_edit(call.login, self._state.projects[parent.project]):
                    raise StatusError(403, f"Insufficient permissions to refresh {uri}")
                with self._state.lock:
                    _refresh(resource, asked)
        self._state.dirty = True
        return text_response("")


def _refresh(resource: Resource, asked: Collection[str]) -> None:
    if "append" in asked:
        for path in sorted(resource.directory.rglob("*")):
            relative = path.relative_to(resource.directory).as_posix()
            if path.is_file() and relative not in resource.entries and not relative.endswith("_catalog.xml"):
                resource.entries[relative] = FileEntry(path=relative, size=path.stat().st_size)
    if "delete" in asked:
        for name in [name for name in resource.entries if not (resource.directory / name).is_file()]:
            del resource.entries[name]
    if "checksum" in asked:
        for entry in resource.entries.values():
            path = resource.directory / entry.path
            if path.is_file():
                entry.md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if "populateStats" in asked:
        resource.count()
    resource.version += 1


def catalog_document(resource: Resource) -> str:
    """The catalog document; a DICOM catalog's entries carry UIDs (2.5)."""
    dicom = any(entry.uid for entry in resource.entries.values())
    kind = "DCMCatalog" if dicom else "Catalog"
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    spaces = 'xmlns:cat="http://nrg.wustl.edu/catalog" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    lines.append(f"<cat:{kind} {spaces}>")
    lines.append("<cat:entries>")
    for name, entry in resource.entries.items():
        if name in resource.uncatalogued:
            continue
        attributes = {"URI": entry.path, "name": entry.path, "digest": entry.md5}
        if entry.uid:
            attributes |= {"xsi:type": "cat:dcmEntry", "UID": entry.uid, "instanceNumber": entry.instance_number or ""}
        if entry.format:
            attributes["format"] = entry.format
        if entry.content:
            attributes["content"] = entry.content
        written = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
        lines.append(f"<cat:entry {written}/>")
    lines.append(f"</cat:entries>\n</cat:{kind}>\n")
    return "\n".join(lines)
