"""PUT of files: a 200 can mean "not stored" (xnat-api 4.3 to 4.7)."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from werkzeug import Response

from xnatctl_sandbox.http import content_types
from xnatctl_sandbox.http.call import Call, is_true
from xnatctl_sandbox.http.resource_parents import ResourceParent, ResourceParents, named
from xnatctl_sandbox.http.responses import text_response
from xnatctl_sandbox.receive.archive_reader import Damaged, Readable, Truncated, entries, format_of
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import FileEntry, Resource
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.switches import Switches

_BLOCK = 1 << 18
_CONFLICT = "Another thread or process modified the catalog while this one was working on it."


@dataclass
class Upload:
    """One file of a request: its path by the URL, and the name that decides whether it is unpacked."""

    path: str
    name: str
    stream: Readable


@dataclass
class _Put:
    """One PUT into one resource, which may not exist yet."""

    label: str
    directory: Path
    options: Mapping[str, str]
    resource: Resource | None
    version: int
    fault: Mapping[str, Any]
    entered: dict[str, FileEntry] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)

    def flag(self, name: str) -> bool:
        """A query parameter or form field that is not `false` or `0`."""
        return name in self.options and is_true(self.options[name])


class FileUpload:
    """PUT and POST of the `/files` routes."""

    def __init__(self, state: State, switches: Switches, parents: ResourceParents) -> None:
        self._state = state
        self._switches = switches
        self._parents = parents

    def put(self, call: Call) -> Response:
        """Store files; 200 also when nothing is stored: no right to edit, or no `overwrite` (4.3, 4.4)."""
        parent = self._parents.one(call)
        label = call.parts.get("resource")
        resource = named(parent, label) if label is not None else next(iter(parent.resources), None)
        if not self._state.may_edit(call.login, self._state.projects[parent.project]):
            return text_response("")  # the silent nothing of 4.4.1
        options = _options(call)
        put = _Put(
            label=resource.label if resource is not None else label or "",
            directory=resource.directory if resource is not None else parent.directory / (label or ""),
            options=options,
            resource=resource,
            version=resource.version if resource is not None else 0,
            fault=call.fault or {},
        )
        put.directory.mkdir(parents=True, exist_ok=True)
        for upload in _uploads(call):
            for path, data in _pieces(upload, extract=put.flag("extract")):
                self._store(put, path, data)
        self._switches.pause("catalog_seconds")  # between reading a catalog and writing it: a test's switch
        self._catalogue(parent, put)
        if put.duplicates:
            return Response(json.dumps({"duplicates": put.duplicates}), 200, content_type="text/html")
        return text_response("")

    # on disk

    def _store(self, put: _Put, path: str, data: Readable | None) -> None:
        """Store one file; without `overwrite` an existing one stays. No data means a folder (4.6)."""
        if PurePosixPath(path).is_absolute() or ".." in path.split("/"):
            raise StatusError(400, "Illegal path")
        target = put.directory / path
        if data is None:
            target.mkdir(parents=True, exist_ok=True)
            return
        if target.exists() and not put.flag("overwrite"):
            for _ in iter(lambda: data.read(_BLOCK), b""):
                pass
            put.duplicates.append(path)
            return
        action = put.fault.get("action") if re.search(put.fault.get("members", ""), path) else None
        if action == "lose-file":
            for _ in iter(lambda: data.read(_BLOCK), b""):
                pass
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        sent = Truncated(data, int(put.fault.get("bytes", 0))) if action == "truncate-file" else data
        size, digest = _write(target, sent)
        name = path.rpartition("/")[2]
        if name.endswith("_catalog.xml") or name.startswith(".~lock-"):
            return  # stored, never catalogued (4.5)
        put.entered[path] = FileEntry(
            path=path, size=size, md5=digest if self._state.site["checksums"] else "",
            format=put.options.get("format", ""), content=put.options.get("content", ""),
            tags=put.options.get("tags", ""),
        )  # fmt: skip

    # in the catalog, once, at the end

    def _catalogue(self, parent: ResourceParent, put: _Put) -> None:
        switches = self._switches
        with self._state.lock:
            switches.file_puts += 1
            every = switches.catalog_conflict_every
            scripted = put.fault.get("action") == "catalog-conflict" or (every and switches.file_puts % every == 0)
            changed = put.resource is not None and put.resource.version != put.version
            if scripted or (changed and put.entered):
                raise StatusError(500, _CONFLICT)  # the file is on disk, without an entry (4.7)
            resource = put.resource
            if resource is None:
                resource = self.create(parent, put.label, put.options)  # whoever else is making it as well (4.7)
            else:
                _configure(resource, put.options)
            counts = put.options.get("update-stats", "").lower() != "false" and not switches.stale_stats
            resource.enter(put.entered, count=counts)
            for twin in parent.resources:
                if twin is not resource and twin.directory == resource.directory:
                    twin.version += bool(put.entered)  # they share the catalog's file
            self._state.dirty = True

    def create(self, parent: ResourceParent, label: str, options: Mapping[str, str]) -> Resource:
        """Add a resource; one with the same folder as another shares its catalog."""
        with self._state.lock:
            resource = Resource(
                pk=self._state.next_number("resource"), label=label, directory=parent.directory / label,
                format=options.get("format", ""), content=options.get("content", ""), tags=options.get("tags", ""),
                description=options.get("description", ""),
            )  # fmt: skip
            resource.directory.mkdir(parents=True, exist_ok=True)
            twin = next((other for other in parent.resources if other.directory == resource.directory), None)
            if twin is not None:
                resource.entries, resource.version = twin.entries, twin.version
            parent.resources.append(resource)
            self._state.dirty = True
            return resource


def _configure(resource: Resource, options: Mapping[str, str]) -> None:
    """Write the options to the resource as well; tags are appended each time (4.3)."""
    resource.format = options.get("format") or resource.format
    resource.content = options.get("content") or resource.content
    resource.description = options.get("description") or resource.description
    if tags := options.get("tags"):
        resource.tags = ",".join(filter(None, [resource.tags, tags]))


def _options(call: Call) -> dict[str, str]:
    """The query; fields of a multipart form as well, which the query overrides."""
    found = call.parameters() if call.request.mimetype == content_types.MULTIPART else {}
    options = {key: values[-1] for key, values in found.items() if values}
    return {**options, **{key: call.query(key) for key in call.request.args}}


def _uploads(call: Call) -> list[Upload]:
    """The raw body, or the parts of a form. Raises StatusError for what cannot be a file."""
    request = call.request
    path, inbody = decoded(call.rest), call.query("inbody").lower() == "true"
    if request.mimetype == content_types.MULTIPART:
        if inbody:  # 406 is set first, then overwritten (4.3)
            raise StatusError(400, "You tried to PUT a payload of multipart/form-data.")
        parts = [part for key in request.files for part in request.files.getlist(key) if part.filename]
        if not parts:
            raise StatusError(400, "You tried to PUT a payload of multipart/form-data without a file.")
        names = [re.split(r"[/\\]", part.filename or "")[-1] for part in parts]
        return [Upload(path or name, name, part.stream) for name, part in zip(names, parts, strict=True)]
    known = content_types.name_of(request.mimetype)
    if not inbody and known is None:
        raise StatusError(400, f"You tried to PUT a payload of {request.mimetype or 'no type'}.")
    if content_types.lacks_length(request):
        raise StatusError(500, content_types.NO_LENGTH)
    name = path or known or "upload"
    stream: Readable = io.BytesIO() if content_types.consumed(request) else request.stream
    return [Upload(name, name, stream)]


def _pieces(upload: Upload, *, extract: bool) -> Iterable[tuple[str, Readable | None]]:
    """The file, or with `extract` its members, which go below the root of the resource; the name decides (4.6)."""
    kind = format_of(upload.name) if extract else "UNKNOWN"
    if kind == "UNKNOWN":
        return [(upload.path, upload.stream)]
    if kind == "GZ":
        return [(upload.path.removesuffix(".gz"), _gunzipped(upload.stream))]
    return _extracted(upload.stream, kind)


def _gunzipped(stream: Readable) -> Readable:
    whole = b"".join(iter(lambda: stream.read(_BLOCK), b""))
    try:
        return io.BytesIO(gzip.decompress(whole))
    except (OSError, EOFError, zlib.error) as error:
        raise StatusError(500, str(error)) from None


def _extracted(stream: Readable, kind: str) -> Iterator[tuple[str, Readable | None]]:
    try:
        yield from entries(stream, kind)
    except Damaged as error:
        raise StatusError(400 if error.name else 500, str(error)) from None


def _write(target: Path, data: Readable) -> tuple[int, str]:
    size, digest = 0, hashlib.md5(usedforsecurity=False)
    with target.open("wb") as out:
        while piece := data.read(_BLOCK):
            out.write(piece)
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def decoded(path: str) -> str:
    """The path as sent; it is decoded only when it contains %20 or %2B, and then a plus is a space (4.5)."""
    if "%20" in path or "%2B" in path.upper():
        return unquote(path.replace("+", " "))
    return path
