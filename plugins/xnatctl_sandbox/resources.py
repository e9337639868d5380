"""Resources and files, where almost every 200 can mean "not stored" (contract xnat-api 4)."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from werkzeug import Response

from .answers import Call, StatusError, table, text
from .catalogs import catalog_document
from .listings import Listings
from .state import Experiment, FileEntry, Project, Resource, Scan, Subject
from .streams import Damaged, Readable, entries, format_of

if TYPE_CHECKING:
    from .server import Sandbox

_RESOURCE = (
    "xnat_abstractresource_id", "label", "element_name", "category", "cat_id", "cat_desc", "file_count", "file_size",
    "tags", "content", "format",
)  # fmt: skip
_FILE = ("Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest")
_BODY_TYPES = re.compile(
    r"application/(octet-stream|zip|x-tar|x-gtar|x-gzip|gzip|pdf|dicom|json)|text/(plain|xml|csv)|image/.*"
)


class Parent:
    """What carries resources: a project, a subject, a session or a scan of one."""

    def __init__(
        self,
        owner: Project | Subject | Experiment | Scan,
        resources: list[Resource],
        directory: Path,
        project: str,
        uri: str,
    ) -> None:
        self.owner, self.resources, self.directory, self.project, self.uri = owner, resources, directory, project, uri


class Resources:
    """Handlers below `/resources` and `/files`."""

    def __init__(self, sandbox: Sandbox, listings: Listings) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state
        self._listings = listings

    def _parents(self, call: Call) -> list[Parent]:
        """The parents that the route names; several for `scans/ALL`."""
        if "experiment" in call.parts:
            experiment = self._listings.experiment(call)
            base = f"/data/experiments/{experiment.id}"
            if "scan" not in call.parts:
                return [
                    Parent(
                        experiment, experiment.resources, experiment.directory / "RESOURCES", experiment.project, base
                    )
                ]
            return [
                Parent(
                    scan,
                    scan.resources,
                    experiment.directory / "SCANS" / scan.id,
                    experiment.project,
                    f"{base}/scans/{scan.id}",
                )
                for scan in self._listings.scans(call, experiment)
            ]
        root = self._state.directory / "archive"
        if "subject" in call.parts:
            subject = self._listings.subject(call)
            place = root / subject.project / "subjects" / subject.label
            return [Parent(subject, subject.resources, place, subject.project, f"/data/subjects/{subject.id}")]
        project = self._listings.project(call)
        return [
            Parent(
                project, project.resources, root / project.id / "resources", project.id, f"/data/projects/{project.id}"
            )
        ]

    def _one(self, call: Call) -> Parent:
        parents = self._parents(call)
        if len(parents) != 1:
            raise StatusError(404, "Unable to identify scan")
        return parents[0]

    @staticmethod
    def _named(parent: Parent, name: str) -> Resource | None:
        """By label, or by number; a label of digits is taken for a number (2.4)."""
        if name.isdecimal():
            found = next((resource for resource in parent.resources if str(resource.pk) == name), None)
            if found is None:
                raise StatusError(403)
            return found
        return next((resource for resource in parent.resources if resource.label == name), None)

    # tables and catalogs

    def listing(self, call: Call) -> Response:
        """`.../resources`; `all=true` lists those of the scans as well."""
        rows: list[dict[str, Any]] = []
        with self._state.lock:
            for parent in self._parents(call):
                rows += [self._cells(parent, resource) for resource in parent.resources]
                if isinstance(parent.owner, Experiment) and call.flag("all"):
                    for scan in parent.owner.scans.values():
                        below = Parent(scan, scan.resources, parent.directory, parent.project, "")
                        rows += [self._cells(below, resource) for resource in scan.resources]
        return table(call, _RESOURCE, rows, title="Resources")

    @staticmethod
    def _cells(parent: Parent, resource: Resource) -> dict[str, Any]:
        scan = isinstance(parent.owner, Scan)
        return {
            "xnat_abstractresource_id": resource.pk,
            "label": resource.label,
            "element_name": "xnat:resourceCatalog",
            "category": "scans" if scan else "resources",
            "cat_id": parent.owner.id if scan else "",
            "cat_desc": parent.owner.type if isinstance(parent.owner, Scan) else "",
            "file_count": len(resource.entries),
            "file_size": resource.total_bytes,
            "tags": resource.tags,
            "content": resource.content,
            "format": resource.format,
        }

    def one(self, call: Call) -> Response:
        """GET: the catalog XML whatever the format. PUT creates, 409 when it is there. DELETE."""
        parent = self._one(call)
        name = call.parts["resource"]
        found = self._named(parent, name)
        project = self._state.projects[parent.project]
        if call.method in ("PUT", "POST"):
            if call.rest:
                raise StatusError(400, "To upload files, append '/files' to the URI.")
            if not self._state.may_edit(call.login, project):
                raise StatusError(403)
            if found is not None:
                raise StatusError(409, "Specified resource already exists.")
            self._create(parent, name, call)
            return text("")
        if found is None:
            raise StatusError(404, "Unable to find the specified catalog.")
        if call.method == "DELETE":
            if not self._state.may_delete(call.login, project):
                raise StatusError(403)
            parent.resources.remove(found)
            shutil.rmtree(found.directory, ignore_errors=True)
            self._sandbox.dirty = True
            return text("")
        with self._state.lock:
            return text(catalog_document(found), content_type="text/xml")

    def _create(self, parent: Parent, label: str, call: Call) -> Resource:
        with self._state.lock:
            resource = Resource(
                pk=self._state.next_number("resource"), label=label, directory=parent.directory / label,
                format=call.query("format"), content=call.query("content"), tags=call.query("tags"),
            )  # fmt: skip
            resource.directory.mkdir(parents=True, exist_ok=True)
            parent.resources.append(resource)
            self._sandbox.dirty = True
            return resource

    # files

    def files(self, call: Call) -> Response:
        """`.../files[/path]`."""
        if call.method in ("PUT", "POST"):
            return self._put(call)
        path = call.rest
        chosen = self._chosen(call)
        if call.method == "DELETE":
            return self._delete(call, chosen, path)
        if path and not path.endswith("/"):
            return self._get(call, chosen, path)
        with self._state.lock:
            rows = [
                self._file_cells(parent, resource, entry)
                for parent, resource in chosen
                for entry in resource.entries.values()
                if entry.path.startswith(unquote(path))
            ]
        return table(call, _FILE, rows, title="Files", total=False)

    def _chosen(self, call: Call) -> list[tuple[Parent, Resource]]:
        chosen = []
        for parent in self._parents(call):
            if "resource" not in call.parts:
                chosen += [(parent, resource) for resource in parent.resources]
                continue
            for name in call.parts["resource"].split(","):
                found = self._named(parent, name)
                if found is not None:
                    chosen.append((parent, found))
        if "resource" in call.parts and not chosen:
            raise StatusError(404, "Unable to find catalog.")
        return chosen

    @staticmethod
    def _file_cells(parent: Parent, resource: Resource, entry: FileEntry) -> dict[str, Any]:
        return {
            "Name": entry.path.rpartition("/")[2],
            "Size": entry.size,
            "URI": f"{parent.uri}/resources/{resource.pk}/files/{entry.path}",
            "collection": resource.label,
            "file_tags": entry.tags,
            "file_format": entry.format,
            "file_content": entry.content,
            "cat_ID": resource.pk,
            "digest": entry.md5,
        }

    @staticmethod
    def _find(chosen: Iterable[tuple[Parent, Resource]], path: str) -> tuple[Resource, FileEntry] | None:
        """Raw first, then decoded (4.5)."""
        for _, resource in chosen:
            for name in (path, unquote(path)):
                if name in resource.entries:
                    return resource, resource.entries[name]
        return None

    def _get(self, call: Call, chosen: list[tuple[Parent, Resource]], path: str) -> Response:
        found = self._find(chosen, path)
        if found is None:
            if call.flag("accept-not-found"):
                return text("", 204)
            raise StatusError(404, "Unable to find catalog entry for given uri.")
        resource, entry = found
        return Response((resource.directory / entry.path).read_bytes(), 200, content_type="application/octet-stream")

    def _delete(self, call: Call, chosen: list[tuple[Parent, Resource]], path: str) -> Response:
        found = self._find(chosen, path)
        if found is None:
            raise StatusError(404, "Unable to find catalog entry for given uri.")
        if not self._state.may_delete(call.login, self._state.projects[chosen[0][0].project]):
            raise StatusError(403)
        resource, entry = found
        with self._state.lock:
            del resource.entries[entry.path]
            (resource.directory / entry.path).unlink(missing_ok=True)
            self._sandbox.dirty = True
        return text("")

    def _put(self, call: Call) -> Response:
        """200 always; nothing stored without the right to edit, old content kept without `overwrite` (4.3, 4.4)."""
        parent = self._one(call)
        if not self._state.may_edit(call.login, self._state.projects[parent.project]):
            return text("")  # the silent nothing of 4.4.1
        uploads = self._uploads(call)
        resource = self._target(parent, call)
        switches = self._sandbox.switches
        switches.file_puts += 1
        conflict = bool(switches.catalog_conflict_every) and switches.file_puts % switches.catalog_conflict_every == 0
        duplicates: list[str] = []
        entered: list[FileEntry] = []
        for name, stream in uploads:
            for path, data in self._pieces(name, stream, extract=call.flag("extract")):
                self._store(call, resource, path, data, duplicates, entered)
        if conflict:  # the file is on disk, the catalog is not written (4.7)
            raise StatusError(500, "Another thread or process modified the catalog while this one was working on it.")
        with self._state.lock:
            resource.entries.update({entry.path: entry for entry in entered})
            self._sandbox.dirty = True
        if duplicates:
            return Response(json.dumps({"duplicates": duplicates}), 200, content_type="text/html")
        return text("")

    def _target(self, parent: Parent, call: Call) -> Resource:
        name = call.parts.get("resource")
        if name is None:
            return parent.resources[0] if parent.resources else self._create(parent, "", call)
        return self._named(parent, name) or self._create(parent, name, call)

    def _uploads(self, call: Call) -> list[tuple[str, Readable]]:
        """(name, data): the raw body, or the parts of a form."""
        request = call.request
        path = _decoded(call.rest)
        if request.mimetype == "multipart/form-data":
            if call.query("inbody").lower() == "true":
                raise StatusError(400, "You tried to PUT a payload of multipart/form-data.")
            found = [part for key in request.files for part in request.files.getlist(key) if part.filename]
            if not found:
                raise StatusError(400, "You tried to PUT a payload without files.")
            return [(path or (part.filename or "").rpartition("/")[2], part.stream) for part in found]
        if call.query("inbody").lower() != "true" and not _BODY_TYPES.fullmatch(request.mimetype):
            raise StatusError(400, f"You tried to PUT a payload of {request.mimetype or 'no type'}.")
        if not request.content_length and request.mimetype != "application/zip":
            raise StatusError(500, "In-body File posts must include the file directly as the body of the message.")
        return [(path or "upload", request.stream)]

    @staticmethod
    def _pieces(name: str, stream: Readable, *, extract: bool) -> Iterable[tuple[str, Readable]]:
        """One file, or with `extract` what is in it: by name alone, into the root of the resource (4.6)."""
        kind = format_of(name) if extract else "UNKNOWN"
        if kind == "UNKNOWN":
            return [(name, stream)]
        if kind == "GZ":
            whole = b"".join(iter(lambda: stream.read(1 << 18), b""))
            try:
                return [(name.removesuffix(".gz"), io.BytesIO(gzip.decompress(whole)))]
            except (OSError, EOFError, zlib.error) as error:
                raise StatusError(500, str(error)) from None
        return _extracted(stream, kind)

    def _store(
        self, call: Call, resource: Resource, path: str, data: Readable, duplicates: list[str], entered: list[FileEntry]
    ) -> None:
        target = resource.directory / path
        if not target.resolve().is_relative_to(resource.directory.resolve()):
            raise StatusError(400, "Illegal path")
        if target.exists() and not call.flag("overwrite"):
            for _ in iter(lambda: data.read(1 << 18), b""):
                pass
            duplicates.append(path)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        size, digest = 0, hashlib.md5(usedforsecurity=False)
        with target.open("wb") as out:
            while piece := data.read(1 << 18):
                out.write(piece)
                digest.update(piece)
                size += len(piece)
        name = path.rpartition("/")[2]
        if name.endswith("_catalog.xml") or name.startswith(".~lock-"):
            return  # stored, never catalogued (4.5)
        entered.append(
            FileEntry(
                path=path, size=size, md5=digest.hexdigest() if self._state.site["checksums"] else "",
                format=call.query("format"), content=call.query("content"), tags=call.query("tags"),
            )
        )  # fmt: skip


def _extracted(stream: Readable, kind: str) -> Iterable[tuple[str, Readable]]:
    try:
        yield from entries(stream, kind)
    except Damaged as error:
        raise StatusError(400 if "malformed" in str(error) else 500, str(error)) from None


def _decoded(path: str) -> str:
    """Percent-encoded as sent, decoded only when it holds %20 or %2B; a plus is a space then (4.5)."""
    if "%20" in path or "%2B" in path.upper():
        return unquote(path.replace("+", " "))
    return path
