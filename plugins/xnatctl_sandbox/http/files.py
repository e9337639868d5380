"""`.../files[/path]`: listing, reading back, deleting (xnat-api 2.5, 4.9); `file_upload` has the PUT."""

from __future__ import annotations

import mimetypes
import zipfile
from typing import Any
from urllib.parse import unquote, unquote_plus

from werkzeug import Response
from werkzeug.wsgi import wrap_file

from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.file_upload import FileUpload, decoded
from xnatctl_sandbox.http.resource_parents import ResourceParent, ResourceParents, named
from xnatctl_sandbox.http.responses import text_response
from xnatctl_sandbox.http.tables import table
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import FileEntry, Resource
from xnatctl_sandbox.world.state import State

_FILE = ("Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest")
_NOT_FOUND = "Unable to find catalog entry for given uri."
Chosen = list[tuple[ResourceParent, Resource]]


class Files:
    """Handlers of the `/files` routes."""

    def __init__(self, state: State, parents: ResourceParents, upload: FileUpload, context_path: str) -> None:
        self._state = state
        self._parents = parents
        self._upload = upload
        self._context_path = context_path

    def answer(self, call: Call) -> Response:
        """Answer by method; PUT and POST are the same."""
        if call.method in ("PUT", "POST"):
            return self._upload.put(call)
        chosen = self._chosen(call)
        if call.method == "DELETE":
            return self._delete(call, chosen)
        if call.rest and not call.rest.endswith(("/", "*")) and not call.query("index"):
            return self._read(call, chosen)
        return self._listing(call, chosen)

    def _chosen(self, call: Call) -> Chosen:
        parents = self._parents.all(call)
        if "resource" not in call.parts:
            if not parents:  # a scan that does not exist is not 404 (2.5)
                parents = [self._parents.subject_instead(call)]
            return [(parent, resource) for parent in parents for resource in parent.resources]
        chosen = [
            (parent, found)
            for parent in parents
            for name in call.parts["resource"].split(",")
            if (found := named(parent, name)) is not None
        ]
        if not chosen:
            raise StatusError(404, "Unable to find catalog.")
        return chosen

    # listing

    def _listing(self, call: Call, chosen: Chosen) -> Response:
        prefix = unquote(call.rest.rstrip("*"))
        with self._state.lock:
            found = [
                (parent, resource, entry)
                for parent, resource in chosen
                for entry in resource.entries.values()
                if entry.path not in resource.unlisted
                and entry.path.startswith(prefix)
                and self._wanted(call, entry, prefix)
            ]
            if index := call.query("index"):
                return self._indexed(call, found, index)
            rows = [self._cells(call, *each) for each in found]
        locator = call.query("locator")
        columns = tuple(locator if name == "URI" and locator else name for name in _FILE)
        key = {"key": columns[2], "serverRoot": self._context_path}
        return table(call, columns, rows, title="Files", total=False, keys=[key])

    @staticmethod
    def _wanted(call: Call, entry: FileEntry, prefix: str) -> bool:
        for name, value in (("file_content", entry.content), ("file_format", entry.format)):
            if name in call.request.args and value not in call.query(name).split(","):
                return False
        return call.query("recursive") != "false" or "/" not in entry.path[len(prefix) :]

    def _indexed(self, call: Call, found: list[tuple[ResourceParent, Resource, FileEntry]], index: str) -> Response:
        """The k-th file itself, for `index=k`."""
        if not index.isdecimal() or int(index) >= len(found):
            raise StatusError(404, _NOT_FOUND)
        _, resource, entry = found[int(index)]
        return self._send(call, resource, entry)

    def _cells(self, call: Call, parent: ResourceParent, resource: Resource, entry: FileEntry) -> dict[str, Any]:
        path = resource.directory / entry.path
        return {
            "Name": entry.path.rpartition("/")[2],
            "Size": entry.size,
            "URI": f"{parent.uri}/resources/{resource.pk}/files/{entry.path}",
            "absolutePath": str(path),
            "projectPath": str(path.relative_to(self._state.directory / "archive" / parent.project))
            if call.query("locator") == "projectPath"
            else "",
            "collection": resource.label,
            "file_tags": entry.tags,
            "file_format": entry.format,
            "file_content": entry.content,
            "cat_ID": resource.pk,
            "digest": entry.md5,
        }

    # one file

    @staticmethod
    def _find(chosen: Chosen, path: str) -> tuple[ResourceParent, Resource, FileEntry]:
        """Find a file by the name that a PUT would use, then by the decoded one (4.5)."""
        for parent, resource in chosen:
            for name in (decoded(path), unquote_plus(decoded(path))):
                if name in resource.entries:
                    return parent, resource, resource.entries[name]
        raise StatusError(404, _NOT_FOUND)

    def _read(self, call: Call, chosen: Chosen) -> Response:
        path, inside, member = call.rest.partition("!/")
        try:
            _, resource, entry = self._find(chosen, path)
        except StatusError:
            if call.flag("accept-not-found"):
                return text_response("", 204)
            raise
        return self._member(resource, entry, member) if inside else self._send(call, resource, entry)

    @staticmethod
    def _send(call: Call, resource: Resource, entry: FileEntry) -> Response:
        path = resource.directory / entry.path
        if not path.is_file():
            raise StatusError(404, _NOT_FOUND)
        kind = mimetypes.guess_type(entry.path)[0] or "application/octet-stream"
        body = wrap_file(call.request.environ, path.open("rb"))
        headers = {"Content-Length": str(path.stat().st_size)}
        return Response(body, 200, headers, content_type=kind, direct_passthrough=True)

    @staticmethod
    def _member(resource: Resource, entry: FileEntry, member: str) -> Response:
        """A member of a zip file, `x.zip!/inner`."""
        try:
            with zipfile.ZipFile(resource.directory / entry.path) as archive:
                data = archive.read(unquote(member))
        except (KeyError, OSError, zipfile.BadZipFile):
            raise StatusError(404, _NOT_FOUND) from None
        return Response(data, 200, content_type="application/octet-stream")

    def _delete(self, call: Call, chosen: Chosen) -> Response:
        parent, resource, entry = self._find(chosen, call.rest)
        if not self._state.may_delete(call.login, self._state.projects[parent.project]):
            raise StatusError(403)
        with self._state.lock:
            resource.entries.pop(entry.path, None)
            resource.version += 1
            resource.count()
            (resource.directory / entry.path).unlink(missing_ok=True)
            self._state.dirty = True
        return text_response("")
