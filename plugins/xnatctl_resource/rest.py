"""Resources: folders of files on a project, subject, session or scan (xnat-api 3, 4).

Almost every 200 here can mean "not stored": a PUT without permission returns an empty 200 (4.4), an existing file
returns 200 and a list of duplicates, a conflict in the catalog returns 500 although the file is stored (4.7). So only a
listing shows what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

from xnatctl.api import (
    Body,
    NotFound,
    NotXnat,
    PermissionDenied,
    Refused,
    ResourceRef,
    ServerError,
    TransportError,
)
from xnatctl.api.xnat import ResourceInfo, Totals, XnatClient, resource_of, url_path, whole_number

_T = TypeVar("_T")

_REFRESH = "/data/services/refresh/catalog"
#: The name of a bundle in its URL; the server unpacks it and stores no file of that name (4.6).
_BUNDLE = "xnatctl-bundle"
#: By form: suffix, which alone decides how the server unpacks it and only in lower case (4.6), and media type.
_FORMS: Mapping[str, tuple[str, str]] = {
    "zip": (".zip", "application/zip"),
    "tar": (".tar", "application/x-tar"),
    "tar.gz": (".tar.gz", "application/x-gtar"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceParent:
    """The parent of resources: a project, subject, session or scan.

    `path` is its URL path by accession IDs (labels would give unrouted URLs, 0.4), `archive` its name in the refresh
    service (4.8), `name` its name in messages, `session_id` the session, if it is or belongs to one.
    """

    path: str
    archive: str
    name: str
    session_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """A file of a resource: `path` inside it, `size` in bytes, `digest` MD5 in hex or empty."""

    path: str
    size: int
    digest: str

    @classmethod
    def of(cls, row: Mapping[str, str]) -> FileInfo:
        """One row of a listing of files."""
        return cls(
            path=row.get("URI", "").partition("/files/")[2] or row.get("Name", ""),
            size=whole_number(row.get("Size", "")) or 0,
            digest=row.get("digest", ""),
        )


def project_parent(project: str) -> ResourceParent:
    """A project, by its ID."""
    return ResourceParent(
        path=url_path("/data/projects", project), archive=f"/archive/projects/{project}", name=f"project {project}"
    )


def subject_parent(subject_id: str, label: str, project: str) -> ResourceParent:
    """A subject, by accession ID."""
    return ResourceParent(
        path=url_path("/data/subjects", subject_id),
        archive=f"/archive/projects/{project}/subjects/{subject_id}",
        name=f"subject {label} ({subject_id}) of project {project}",
    )


def session_parent(session_id: str, label: str, project: str, scan: str = "", scan_name: str = "") -> ResourceParent:
    """A session by accession ID, or one of its scans; `scan_name` is what names it in a URL (`listing.scan_names`)."""
    name = f"session {label} ({session_id}) of project {project}"
    if not scan:
        path = url_path("/data/experiments", session_id)
        archive = f"/archive/experiments/{session_id}"
        return ResourceParent(path=path, archive=archive, name=name, session_id=session_id)
    return ResourceParent(
        path=url_path("/data/experiments", session_id, "scans", scan_name or scan),
        archive=f"/archive/experiments/{session_id}/scans/{scan}",
        name=f"scan {scan} of {name}",
        session_id=session_id,
    )


# looking


def resources(client: XnatClient, parent: ResourceParent) -> list[ResourceInfo]:
    """The resources of a parent, without those of its children."""
    return [resource_of(row) for row in client.table(f"{parent.path}/resources")]


def find_resource(client: XnatClient, parent: ResourceParent, label: str) -> ResourceInfo | None:
    """The resource with a label. Raises Refused if there are several.

    Two first uploads at the same time create two resources with one label (4.7), which is ambiguous.
    """
    found = [resource for resource in resources(client, parent) if resource.label == label and resource.id]
    if len(found) > 1:
        ids = ", ".join(resource.id for resource in found)
        raise Refused(
            f"There are {len(found):,} resources {label} on {parent.name} (numbers {ids}), so the label is ambiguous.",
            hint="Two uploads that started at the same time cause this. Delete or rename all but one on the server.",
        )
    return found[0] if found else None


def resource_files(
    client: XnatClient, parent: ResourceParent, resource: ResourceInfo, wanted: Container[str]
) -> dict[str, FileInfo]:
    """The files of these paths in the catalog of a resource (2.5); any number of others may be there.

    Raises ServerError for an unreadable catalog.
    """

    def add(files: dict[str, FileInfo], row: Mapping[str, str]) -> None:
        file = FileInfo.of(row)
        if file.path in wanted:
            files[file.path] = file

    return _collect_files(client, parent, resource, dict[str, FileInfo], add)


def resource_totals(client: XnatClient, parent: ResourceParent, resource: ResourceInfo) -> Totals:
    """File count and size in the catalog of a resource. Raises ServerError for an unreadable catalog."""
    return _collect_files(client, parent, resource, Totals, Totals.add)


def _collect_files(
    client: XnatClient,
    parent: ResourceParent,
    resource: ResourceInfo,
    new: Callable[[], _T],
    add: Callable[[_T, Mapping[str, str]], None],
) -> _T:
    path = url_path(f"{parent.path}/resources", resource.id, "files")
    try:
        return client.collect_rows(path, new, add)
    except NotFound as error:
        raise ServerError(
            f"{client.server} lists resource {resource.label} of {parent.name}, but cannot read its catalog: "
            f"{error.message}",
            hint="Ask the administrator to repair the catalog of the resource.",
            status=404,
        ) from error


def begins_with(
    client: XnatClient,
    parent: ResourceParent,
    resource: ResourceInfo,
    file: FileInfo,
    read: Callable[[], Callable[[int], bytes]],
) -> bool:
    """Read a stored file back: True when its bytes are the first `file.size` bytes of what `read()` reads anew.

    False also if the server does not return the file (xnat-api 4.9).
    """
    path = f"{parent.path}/resources/{resource.id}/files/{quote(file.path, safe='/')}"
    try:
        reply = client.request("GET", path, limit=file.size, into=lambda: _Compared(read()))
    except (NotFound, PermissionDenied, ServerError, TransportError):
        return False
    return isinstance(reply.fed, _Compared) and reply.fed.equals(file.size)


class _Compared:
    """Compares a body with a local file."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._same = True
        self._size = 0

    def feed(self, data: bytes) -> None:
        """The next piece of the body."""
        while data and self._same:
            piece = self._read(len(data))
            self._same = bool(piece) and data.startswith(piece)
            data = data[len(piece) :]
            self._size += len(piece)

    def equals(self, size: int) -> bool:
        """True when all was the same, up to this size."""
        return self._same and self._size == size


# making


def ensure_resource(
    client: XnatClient, parent: ResourceParent, ref: ResourceRef, existing: ResourceInfo | None
) -> ResourceInfo:
    """The resource, created if necessary, which proves the permission to write (4.2).

    A PUT of a file would also create it, but reports no missing permission, and two at once would create two (4.4,
    4.7). Raises PermissionDenied, Refused (a label that the server would not keep), ServerError.
    """
    if existing is None:
        _refuse_label(client, parent, ref.label)
    # A label of digits would be taken for the number of a resource (2.4); a number is one.
    path = url_path(f"{parent.path}/resources", existing.id if existing is not None else ref.label)
    words = {"format": ref.format, "content": ref.content, "tags": ",".join(ref.tags)} if existing is None else {}
    params = {key: value for key, value in words.items() if value}
    try:
        reply = client.request("PUT", path, params=params, expect=(409,))
    except PermissionDenied as error:
        raise PermissionDenied(
            f"{client.login_name} may read {parent.name} but not write to it.",
            hint="Ask the project's owner for the member role.",
        ) from error
    made = existing or find_resource(client, parent, ref.label)
    if made is None:
        raise ServerError(
            f"{client.server} reported that it created resource {ref.label} on {parent.name}, but does not list it.",
            hint="It may have used another label. Choose one of letters, digits, _ and - only.",
            status=reply.status,
        )
    return made


def _refuse_label(client: XnatClient, parent: ResourceParent, label: str) -> None:
    """Refuse a new label that the server would not keep, or would keep in the folder of another resource."""
    if (problem := ResourceRef.label_problem(label)) is not None:
        hint = f"Use the label {ResourceRef.clean_label(label)}." if label else "Name a label."
        raise Refused(f"No resource can be called {label!r}: {problem}.", hint=hint)
    for other in resources(client, parent):
        if other.label.casefold() == label.casefold() and other.label != label:
            raise Refused(
                f"Resource {other.label} of {parent.name} exists already, and {label} differs from it only in case; "
                "some servers store both in one folder.",
                hint=f"Use the label {other.label}, or one that differs in more.",
            )


# sending


def put_file(
    client: XnatClient,
    parent: ResourceParent,
    resource: ResourceInfo,
    name: str,
    body: Body,
    *,
    overwrite: bool,
    ref: ResourceRef,
    on_bytes: Callable[[int], None] | None = None,
) -> tuple[str, ...]:
    """PUT one file under its name; returns the names that existed and were not replaced (4.3, 4.4).

    The name must be one that `is_plain_path` accepts: anything else is stored as it is encoded (4.5).
    """
    path = f"{parent.path}/resources/{resource.id}/files/{quote(name, safe='/')}"
    return _put(client, path, body, "application/octet-stream", _words(ref, overwrite=overwrite), on_bytes)


def put_bundle(
    client: XnatClient,
    parent: ResourceParent,
    resource: ResourceInfo,
    form: str,
    body: Body,
    *,
    overwrite: bool,
    ref: ResourceRef,
    on_bytes: Callable[[int], None] | None = None,
) -> tuple[str, ...]:
    """PUT an archive file that the server unpacks into the root of the resource; returns like `put_file` (4.6)."""
    suffix, media_type = _FORMS[form]
    path = f"{parent.path}/resources/{resource.id}/files/{_BUNDLE}{suffix}"
    words = {**_words(ref, overwrite=overwrite), "extract": "true"}
    return _put(client, path, body, media_type, words, on_bytes)


def _words(ref: ResourceRef, *, overwrite: bool) -> dict[str, str]:
    """The query of a file. No tags: each request would add them to the resource once more (4.3)."""
    words = {"inbody": "true", "format": ref.format, "content": ref.content}
    return {key: value for key, value in {**words, "overwrite": "true" if overwrite else ""}.items() if value}


def _put(
    client: XnatClient,
    path: str,
    body: Body,
    media_type: str,
    words: Mapping[str, str],
    on_bytes: Callable[[int], None] | None,
) -> tuple[str, ...]:
    reply = client.request("PUT", path, params=words, body=body, content_type=media_type, on_bytes=on_bytes)
    text = reply.text.strip()
    if not text:
        return ()
    try:
        document = reply.json()
        return tuple(str(name) for name in document["duplicates"])
    except (NotXnat, KeyError, TypeError):
        raise TransportError(
            f"{client.server} accepted a file with an answer that is not XNAT's: {reply.message or 'not text'}."
        ) from None


def is_conflict(error: Exception) -> bool:
    """True for a catalog that another request changed meanwhile: the files are stored, but not in it (4.7)."""
    return (
        isinstance(error, ServerError)
        and error.status >= 500
        and "another thread or process modified" in error.message.lower()
    )


def refresh_catalog(client: XnatClient, parent: ResourceParent, ref: ResourceRef) -> None:
    """Make the server add the files on its disk to the catalog, with checksums and counts (4.8)."""
    client.request(
        "POST",
        _REFRESH,
        params={"resource": f"{parent.archive}/resources/{ref.label}", "options": "append,checksum,populateStats"},
    )
