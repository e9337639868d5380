"""The prearchive: rows, their scans and logs, and the operations on them (xnat-import 4.4, 6)."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from xnatctl.errors import NotFound, ServerError
from xnatctl.model.refs import PrearchiveRef
from xnatctl.xnat.client import MOST_KEPT, MOST_SHOWN, XnatClient, url_path
from xnatctl.xnat.http.parsers import TooLong
from xnatctl.xnat.http.responses import error_for, whole_number
from xnatctl.xnat.http.urls import is_segment

_ROOT = "/data/prearchive/projects"


@dataclass(frozen=True, kw_only=True, slots=True)
class PrearchiveRow:
    """A session in the prearchive. Every field is text as the server prints it, and may be empty."""

    project: str  # project ID, or `Unassigned`
    timestamp: str  # when the row was made; with `folder` it names the row
    folder: str  # name of the folder
    name: str  # session label
    tag: str  # StudyInstanceUID
    subject: str  # subject label
    status: str  # such as `READY` or `CONFLICT`
    autoarchive: str = ""  # whether the server archives it by itself
    prevent_auto_commit: str = ""  # `true` keeps the server from archiving it
    lastmod: str = ""  # time of the last change
    uploaded: str = ""  # time of the upload
    scan_date: str = ""  # date of the study
    scan_time: str = ""  # time of the study
    url: str = ""  # path of the row, without `/data`

    @property
    def ref(self) -> PrearchiveRef:
        """The reference of the row."""
        return PrearchiveRef(project=self.project, timestamp=self.timestamp, folder=self.folder)


def _path(ref: PrearchiveRef, *more: str) -> str:
    return url_path(_ROOT, ref.project, ref.timestamp, ref.folder, *more)


def _row(cells: Mapping[str, str]) -> PrearchiveRow:
    names = PrearchiveRow.__slots__
    fields = {name: cells.get(name, "") for name in names if name != "folder"}
    return PrearchiveRow(folder=cells.get("folderName", ""), **fields)


def list_rows(
    client: XnatClient, project: str | None = None, keep: Callable[[PrearchiveRow], bool] | None = None
) -> list[PrearchiveRow]:
    """The rows of one project, or of all that this user may edit; all of them or those to `keep`; oldest first.

    For all-data users the listing of a project includes the Unassigned rows (xnat-import 6.1), so it is filtered here.
    """
    path = "/data/prearchive" if project is None else url_path(_ROOT, project)

    def wanted(cells: Mapping[str, str]) -> bool:
        row = _row(cells)
        return (project is None or row.project == project) and (keep is None or keep(row))

    rows = [_row(cells) for cells in client.table(path, keep=wanted, most=MOST_SHOWN if keep is None else MOST_KEPT)]
    return sorted(rows, key=lambda row: (row.project, row.timestamp, row.folder))


def find_rows(
    client: XnatClient, project: str, *, label: str | None = None, study_uid: str | None = None
) -> list[PrearchiveRow]:
    """The rows of a session label, of a study, or of both: the key by which XNAT joins files (xnat-import 4.2)."""
    return list_rows(client, project, lambda row: label in (None, row.name) and study_uid in (None, row.tag))


def get_row(client: XnatClient, ref: PrearchiveRef) -> PrearchiveRow | None:
    """One row; None if it does not exist: the server then answers 200 with an empty table (xnat-import 6.2)."""

    def is_it(cells: Mapping[str, str]) -> bool:
        row = _row(cells)
        return row.folder == ref.folder and row.timestamp == ref.timestamp

    return next((_row(cells) for cells in client.table(_path(ref), keep=is_it)), None)


def build(client: XnatClient, ref: PrearchiveRef, *, timeout: float | None = None) -> None:
    """Make the server read the session; the row becomes READY (6.3). Raises ServerError 409 while it is locked."""
    client.request("POST", _path(ref), form={"action": "build"}, timeout=timeout)


def commit(client: XnatClient, ref: PrearchiveRef, *, timeout: float | None = None) -> str | None:
    """Archive by strict append (xnat-import 4.6): the server refuses files that the session already has.

    Returns the archive URI; None if the session stayed in the prearchive.
    """
    form = {"action": "commit", "AA": "true"}
    reply = client.request("POST", _path(ref), form=form, expect=(301, 303), timeout=timeout)
    target = reply.text.strip() or reply.headers.get("location", "")
    if "/archive/" in target and "/prearchive/" not in target:
        return target
    if reply.status != 200:
        raise error_for(reply, client.server, "POST", _path(ref), client.commands)  # to a login page, say
    return None


def delete(client: XnatClient, ref: PrearchiveRef) -> None:
    """Delete one row with its files. Raises NotFound if there is none, ServerError if it was not deleted.

    The server also answers 200 for a missing or locked row (6.2), so the row is read before and after.
    """
    row = get_row(client, ref)
    if row is None:
        raise NotFound(
            f"The prearchive of project {ref.project} has no session {ref.timestamp} {ref.folder}.",
            hint=f"See what is there: {client.commands.command('prearchive', 'list', '-P', ref.project)}",
        )
    client.request("DELETE", _path(ref))
    if (left := get_row(client, ref)) is not None:
        raise ServerError(
            f"The server did not delete {ref.timestamp} {ref.folder}: it still exists, {left.status}.",
            hint="It may be locked by a running operation; try again when that is done.",
        )


def last_log(client: XnatClient, ref: PrearchiveRef) -> str | None:
    """The last entry of the log of a row, with the reason of a CONFLICT or ERROR (xnat-import 6.2)."""
    reply = client.request("GET", _path(ref, "logs", "last"), expect=(404,))
    return reply.message or None if reply.status == 200 else None


def scans(client: XnatClient, ref: PrearchiveRef) -> list[Mapping[str, str]]:
    """ID, xsiType, series_description of each scan, in the order of their numbers.

    Raises NotFound before the session has been built.
    """
    return sorted(client.table(_path(ref, "scans")), key=lambda scan: scan_order(scan.get("ID", "")))


def scan_order(scan_id: str) -> tuple[int, str]:
    """Sort key of a scan ID: numbers first, in their order, then the others."""
    number = whole_number(scan_id)
    return (10**9 if number is None else number, scan_id)


def scan_file_sizes(client: XnatClient, ref: PrearchiveRef) -> dict[str, array[int]] | None:
    """The sizes of the DICOM files by scan ID, from a built session; -1 where none is listed.

    They come from the listing of files, because the `file_count` of a resource may be stale. None if no URL can carry
    the ID of a scan, so that its files cannot be listed.
    """
    if (ids := _scan_ids(client, ref)) is None:
        return None
    sizes = {number: array("q") for number in ids}
    for number, own in sizes.items():
        for path in _dicom_listings(client, ref, number):
            own.extend(_file_sizes(client, path))
    return sizes


def scan_file_counts(client: XnatClient, ref: PrearchiveRef) -> dict[str, int] | None:
    """Number of DICOM files by scan ID, from a built session; None if they cannot be listed."""
    sizes = scan_file_sizes(client, ref)
    return None if sizes is None else {scan: len(own) for scan, own in sizes.items()}


def _scan_ids(client: XnatClient, ref: PrearchiveRef) -> list[str] | None:
    """The scans of a built session; None if no URL can carry the ID of one."""
    ids = [scan.get("ID", "") for scan in scans(client, ref)]
    return ids if all(map(is_segment, ids)) else None


def _dicom_listings(client: XnatClient, ref: PrearchiveRef, scan: str) -> list[str]:
    """The paths of the listings of a scan's DICOM files."""
    resources = client.table(_path(ref, "scans", scan, "resources"), keep=lambda row: row.get("label") in DICOM_LABELS)
    return [_path(ref, "scans", scan, "resources", resource.get("label", ""), "files") for resource in resources]


def _file_sizes(client: XnatClient, path: str) -> array[int]:
    return client.collect_rows(path, lambda: array("q"), lambda sizes, row: sizes.append(_size(row)))


def _size(row: Mapping[str, str]) -> int:
    size = whole_number(row.get("Size", ""))
    return -1 if size is None else size


def dicom_files(client: XnatClient, ref: PrearchiveRef, most: int) -> list[tuple[str, int]]:
    """Path and size of each DICOM file of a built session; -1 if no size is listed.

    Raises NotFound before the session has been built, ServerError for more than `most` files.
    """
    files: list[tuple[str, int]] = []
    for scan in scans(client, ref):
        for path in _dicom_listings(client, ref, scan.get("ID", "")):
            files += _files(client, path, most - len(files))
    return files


def _files(client: XnatClient, path: str, most: int) -> list[tuple[str, int]]:
    def add(files: list[tuple[str, int]], row: Mapping[str, str]) -> None:
        files.append((url_path(path, row.get("Name", "")), _size(row)))
        if len(files) > most:
            raise TooLong(f"more than {most} files")

    return client.collect_rows(path, list[tuple[str, int]], add)


class _Beginning:
    """The first bytes of a body; the rest is not read."""

    class Enough(Exception):
        """Enough bytes have arrived."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.data = b""

    def feed(self, data: bytes) -> None:
        """The next piece."""
        self.data += data
        if len(self.data) > self._count:
            raise self.Enough


def beginning(client: XnatClient, path: str, count: int) -> bytes:
    """The first `count` bytes of a file in the prearchive, or a few more; a longer response ends the connection.

    Raises what a request raises.
    """
    fed: list[_Beginning] = []

    def into() -> _Beginning:
        fed.append(_Beginning(count))
        return fed[-1]

    with suppress(_Beginning.Enough):
        client.request("GET", path, into=into)
    return fed[-1].data if fed else b""


#: Limit for file names of one scan that are kept.
_MOST_NAMES = 500_000


def dicom_names(client: XnatClient, ref: PrearchiveRef) -> Counter[str] | None:
    """The names of the DICOM files of a built session, each with its number; None if they cannot be listed.

    Raises NotFound before the session has been built, ServerError for more than the limit.
    """
    if (ids := _scan_ids(client, ref)) is None:
        return None
    names: Counter[str] = Counter()
    for number in ids:
        for path in _dicom_listings(client, ref, number):
            names += _names(client, path)
    return names


def _names(client: XnatClient, path: str) -> Counter[str]:
    def add(names: Counter[str], row: Mapping[str, str]) -> None:
        names[row.get("Name", "")] += 1
        if len(names) > _MOST_NAMES:
            raise TooLong(f"more than {_MOST_NAMES} files")

    return client.collect_rows(path, Counter[str], add)


#: Labels of resources with DICOM: secondary objects (reports, presentation states) have a resource of their own.
DICOM_LABELS = frozenset({"DICOM", "secondary"})
