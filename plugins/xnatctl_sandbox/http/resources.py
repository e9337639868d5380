"""`.../resources[/R]`: table, catalog, creating and deleting a resource (xnat-api 2.2, 2.3, 4.2)."""

from __future__ import annotations

import re
import shutil
from typing import Any

from werkzeug import Response

from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.catalogs import catalog_document
from xnatctl_sandbox.http.file_upload import FileUpload
from xnatctl_sandbox.http.resource_parents import ResourceParent, ResourceParents, named, of_scan
from xnatctl_sandbox.http.responses import text_response
from xnatctl_sandbox.http.tables import table
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import Experiment, Resource, Scan
from xnatctl_sandbox.world.state import State

_RESOURCE = (
    "xnat_abstractresource_id", "label", "element_name", "category", "cat_id", "cat_desc", "file_count", "file_size",
    "tags", "content", "format",
)  # fmt: skip
#: What the constructor refuses in a label: quotes, and what looks like SQL (4.5).
_SUSPICIOUS = re.compile(
    r"['\"]|&apos;|&quot;|\b(select|insert|update|delete|drop|union)\b.*\b(from|into|table|set)\b", re.IGNORECASE
)


class Resources:
    """Handlers of the `/resources` routes."""

    def __init__(self, state: State, parents: ResourceParents, upload: FileUpload) -> None:
        self._state = state
        self._parents = parents
        self._upload = upload

    def listing(self, call: Call) -> Response:
        """The table; `all=true` adds resources of scans, `cache_file_stats=true` counts uncounted files."""
        with self._state.lock:
            found = [(parent, resource) for parent in self._parents.all(call) for resource in parent.resources]
            for parent in self._parents.all(call) if call.flag("all") else []:
                if isinstance(parent.owner, Experiment):
                    scans = [of_scan(parent.owner, scan) for scan in parent.owner.scans.values()]
                    found += [(scan, resource) for scan in scans for resource in scan.resources]
            if call.flag("cache_file_stats"):
                for _, resource in found:
                    if resource.file_count is None:
                        resource.count()
            rows = [self._cells(parent, resource) for parent, resource in found]
        return table(call, _RESOURCE, rows, title="Resources")

    @staticmethod
    def _cells(parent: ResourceParent, resource: Resource) -> dict[str, Any]:
        """A row; its numbers are those of the database, which may be old or empty (2.2)."""
        scan = parent.owner if isinstance(parent.owner, Scan) else None
        return {
            "xnat_abstractresource_id": resource.pk,
            "label": resource.label,
            "element_name": "xnat:resourceCatalog",
            "category": "scans" if scan is not None else "resources",
            "cat_id": scan.id if scan is not None else "",
            "cat_desc": scan.type if scan is not None else "",
            "file_count": resource.file_count,
            "file_size": resource.file_size,
            "tags": resource.tags,
            "content": resource.content,
            "format": resource.format,
        }

    def one(self, call: Call) -> Response:
        """GET returns the catalog XML in any format. PUT and POST create, 409 when it exists. DELETE removes."""
        parent = self._parents.one(call)
        name = call.parts["resource"]
        found = named(parent, name)
        if call.method in ("PUT", "POST"):
            return self._make(call, parent, name, found)
        if found is None:
            raise StatusError(404, "Unable to find the specified catalog.")
        if call.method == "DELETE":
            return self._remove(call, parent, found)
        with self._state.lock:
            return text_response(catalog_document(found), content_type="text/xml")

    def _make(self, call: Call, parent: ResourceParent, name: str, found: Resource | None) -> Response:
        if call.rest:
            raise StatusError(400, "To upload files, append '/files' to the URI.")
        if not self._state.may_edit(call.login, self._state.projects[parent.project]):
            raise StatusError(403)
        if _SUSPICIOUS.search(name):
            raise StatusError(400, "Illegal resource label")
        with self._state.lock:
            if found is not None or named(parent, name) is not None:
                raise StatusError(409, "Specified resource already exists.")
            options = {key: call.query(key) for key in call.request.args}
            self._upload.create(parent, name, options).count()
        return text_response("")

    def _remove(self, call: Call, parent: ResourceParent, found: Resource) -> Response:
        if not self._state.may_delete(call.login, self._state.projects[parent.project]):
            raise StatusError(403)
        with self._state.lock:
            parent.resources.remove(found)
            shutil.rmtree(found.directory, ignore_errors=True)
            self._state.dirty = True
        return text_response("")
