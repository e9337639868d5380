"""Projects, subjects, sessions, scans and files, by routed URLs only (xnat-api 0.4, 2).

`/data/projects/P/experiments/E/scans` is not a route: a label is resolved to an ID first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from xnatctl.errors import NotFound, NotXnat, PermissionDenied
from xnatctl.xnat.client import MAX_LISTING, MOST_SHOWN, XnatClient, url_path
from xnatctl.xnat.http.parsers import Catalog, TooLong
from xnatctl.xnat.http.responses import whole_number
from xnatctl.xnat.http.urls import is_segment
from xnatctl.xnat.prearchive import DICOM_LABELS, scan_order


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectInfo:
    """A subject by accession ID and label."""

    id: str  # accession ID
    label: str  # subject label


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionInfo:
    """A session; `uid` is the StudyInstanceUID, `date` ISO."""

    id: str  # accession ID
    label: str  # session label
    project: str  # project ID
    subject_label: str = ""  # label of the subject
    subject_id: str = ""  # accession ID of the subject
    date: str = ""
    xsi_type: str = ""  # such as `xnat:mrSessionData`
    modality: str = ""  # may be empty
    uid: str = ""
    inserted: str = ""  # when the server created it, as it writes it


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanInfo:
    """A scan; `uid` is the SeriesInstanceUID."""

    id: str
    uid: str = ""
    type: str = ""
    series_description: str = ""
    xsi_type: str = ""
    modality: str = ""
    quality: str = ""
    frames: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceInfo:
    """A resource folder. `file_count` and `size` come from the database and may be stale (xnat-api 2.2)."""

    id: str  # its number on the server
    label: str  # resource label
    category: str = ""  # kind of its parent, such as `scans`
    category_id: str = ""  # ID of the scan
    format: str = ""  # as it was declared
    content: str = ""  # as it was declared
    tags: str = ""  # as they were declared
    file_count: int | None = None
    size: int | None = None


def subjects(client: XnatClient, project: str, name: str | None = None) -> list[SubjectInfo]:
    """The subjects of a project, all or those whose accession ID or label is `name`."""
    rows = client.table(
        url_path("/data/projects", project, "subjects"),
        {"columns": "ID,label"},
        keep=None if name is None else lambda row: name in (row.get("ID"), row.get("label")),
    )
    return [SubjectInfo(id=row.get("ID", ""), label=row.get("label", "")) for row in rows]


_COLUMNS = "ID,label,project,subject_ID,subject_label,date,xsiType,modality,UID,insert_date"


def sessions(client: XnatClient, project: str) -> list[SessionInfo]:
    """The imaging sessions of a project, by label.

    The server lists every kind of experiment, such as questionnaires; only imaging sessions are returned.
    """
    rows = client.table(
        url_path("/data/projects", project, "experiments"),
        {"columns": _COLUMNS},
        keep=lambda row: _is_imaging(_session(row, project)),
        most=MOST_SHOWN,
    )
    return sorted((_session(row, project) for row in rows), key=lambda session: session.label)


def sessions_of_study(client: XnatClient, project: str | None, study_uid: str) -> list[SessionInfo]:
    """The sessions of a study in a project, or in all that this user may see, by label (xnat-api 5.6).

    A server drops filters that it does not know (xnat-api 2.1), so the filter is also applied here.
    """
    rows = client.table(
        "/data/experiments" if project is None else url_path("/data/projects", project, "experiments"),
        {"studyInstanceUID": study_uid, "columns": _COLUMNS},
        keep=lambda row: _session(row, project or "").uid == study_uid,
    )
    return sorted((_session(row, project or "") for row in rows), key=lambda session: session.label)


def _is_imaging(session: SessionInfo) -> bool:
    """Whether a row is an imaging session, by its data type or a study. A row without a data type counts as one."""
    return not session.xsi_type or session.xsi_type.lower().endswith("sessiondata") or bool(session.uid)


def _session(row: Mapping[str, str], project: str) -> SessionInfo:
    low = {key.lower(): value for key, value in row.items()}
    return SessionInfo(
        id=row.get("ID", ""),
        label=row.get("label", ""),
        project=low.get("project") or project,
        subject_label=low.get("subject_label", ""),
        subject_id=low.get("subject_id", ""),
        date=low.get("date", ""),
        xsi_type=low.get("xsitype", ""),
        modality=low.get("modality", ""),
        uid=low.get("uid") or low.get("studyinstanceuid", ""),
        inserted=low.get("insert_date", ""),
    )


def find_session(client: XnatClient, project: str | None, name: str) -> SessionInfo | None:
    """A session by accession ID, or by label in a project; None if there is no visible session.

    The item route tries the ID first and ignores the project (2.4), so the project is compared here. A session that is
    shared into the project counts too.
    """
    path = url_path("/data/experiments", name)
    if project is not None:
        path = url_path("/data/projects", project, "experiments", name)
    try:
        document = client.get_json(path, {"format": "json"})
        item = document["items"][0]
        fields = {str(key): str(value) for key, value in item["data_fields"].items()}
        shares = _shared_into(item)
    except (NotFound, PermissionDenied):
        return None
    except (KeyError, IndexError, TypeError, AttributeError):
        raise NotXnat(f"{client.server} did not describe session {name}.") from None
    owner = fields.get("project", "")
    if project is not None and fields.get("ID") == name and owner and owner != project and project not in shares:
        return None
    subject_id = fields.get("subject_ID", "")
    return SessionInfo(
        id=fields.get("ID", ""),
        label=fields.get("label", ""),
        project=owner or (project or ""),
        subject_id=subject_id,
        subject_label=_subject_label(client, owner or (project or ""), subject_id),
        date=fields.get("date", ""),
        xsi_type=str(item.get("meta", {}).get("xsi:type", "")),
        modality=fields.get("modality", ""),
        uid=fields.get("UID", ""),
    )


def _shared_into(item: Mapping[str, Any]) -> set[str]:
    """The projects into which an experiment is shared."""
    children = [child for child in item.get("children", []) if str(child.get("field", "")).startswith("sharing")]
    shares = [share for child in children for share in child.get("items", [])]
    return {str(share.get("data_fields", {}).get("project", "")) for share in shares}


def _subject_label(client: XnatClient, project: str, subject_id: str) -> str:
    if not subject_id or not project:
        return ""
    found = subjects(client, project, subject_id)
    return next((subject.label for subject in found if subject.id == subject_id), "")


def scans(client: XnatClient, session_id: str) -> list[ScanInfo]:
    """The scans of a session, in the order of their numbers."""
    columns = "ID,UID,type,xsiType,series_description,modality,quality,frames,note"
    rows = client.table(url_path("/data/experiments", session_id, "scans"), {"columns": columns})
    found = []
    for row in rows:
        low = {key.lower(): value for key, value in row.items()}
        names = ("uid", "type", "series_description", "modality", "quality", "frames", "note")
        found.append(
            ScanInfo(
                id=row.get("ID", ""), xsi_type=low.get("xsitype", ""), **{name: low.get(name, "") for name in names}
            )
        )
    return sorted(found, key=lambda scan: scan_order(scan.id))


def session_resources(client: XnatClient, session_id: str) -> list[ResourceInfo]:
    """The session's own resources and those of its scans."""
    rows = client.table(url_path("/data/experiments", session_id, "resources"), {"all": "true"}, most=MOST_SHOWN)
    return [resource_of(row) for row in rows]


def resource_of(row: Mapping[str, str]) -> ResourceInfo:
    """One row of a listing of resources."""
    return ResourceInfo(
        id=row.get("xnat_abstractresource_id", ""),
        label=row.get("label", ""),
        category=row.get("category", ""),
        category_id=row.get("cat_id", ""),
        format=row.get("format", ""),
        content=row.get("content", ""),
        tags=row.get("tags", ""),
        file_count=whole_number(row.get("file_count", "")),
        size=whole_number(row.get("file_size", "")),
    )


def _files_path(session_id: str) -> str:
    """All files of all scans, in one call (xnat-api 2.5)."""
    return url_path("/data/experiments", session_id, "scans", "ALL", "files")


@dataclass(slots=True)
class Totals:
    """Number of files, and their size in bytes."""

    files: int = 0  # number of files
    bytes: int = 0  # their size

    def add(self, row: Mapping[str, str]) -> None:
        """Add a row of a listing of files."""
        self.files += 1
        self.bytes += whole_number(row.get("Size", "")) or 0


def totals_of_scans(client: XnatClient, session_id: str) -> dict[str, Totals]:
    """Number and size of the files in the resources of all scans, by resource ID."""

    def add(totals: dict[str, Totals], row: Mapping[str, str]) -> None:
        totals.setdefault(row.get("cat_ID", ""), Totals()).add(row)
        if len(totals) > _MOST_SCANS:
            raise TooLong(f"files of more than {_MOST_SCANS} resources")

    return client.collect_rows(_files_path(session_id), dict[str, Totals], add)


def each_file(client: XnatClient, session_id: str, take: Callable[[], Callable[[Mapping[str, str]], None]]) -> None:
    """Read the row of every file of all scans. `take()` returns their receiver, again for each repetition."""
    client.each_row(_files_path(session_id), take)


def scan_of(resource: str) -> str:
    """The ID of the scan in the URI of a resource. URIs are not percent-encoded, so the ID may contain a slash."""
    scan = resource.partition("/scans/")[2]
    return scan.rpartition("/resources/")[0] or scan


#: Names that the server resolves to several scans, or to those without a type (xnat-api 2.4).
_NO_SCANS = frozenset({"*", "ALL", "NULL"})


def scan_names(scans: Sequence[ScanInfo]) -> dict[str, str | None]:
    """The name of each scan in a URL path, by its ID: the ID, or the type, or None if no URL can address the scan.

    An ID may contain characters that the server's firewall refuses, or a comma, which separates IDs; the server tries
    the type if no ID matches (xnat-api 0.11, 2.4).
    """
    taken = Counter([scan.id for scan in scans] + [scan.type for scan in scans if scan.type != scan.id])

    def name(scan: ScanInfo) -> str | None:
        if "," not in scan.id and _is_name(scan.id):
            return scan.id
        kind = scan.type.replace("/", "[SLASH]").replace(",", "[COMMA]")
        return kind if taken[scan.type] == 1 and _is_name(kind) else None

    return {scan.id: name(scan) for scan in scans}


def _is_name(text: str) -> bool:
    return text not in _NO_SCANS and is_segment(text)


#: Limit for scans; no session has as many.
_MOST_SCANS = 20_000


def file_counts(client: XnatClient, session_id: str, resources: Collection[str] | None = None) -> dict[str, int]:
    """Number of files by scan ID, of every resource or of those with certain labels.

    Raises ServerError for more scans than the limit.
    """

    def add(counts: Counter[str], row: Mapping[str, str]) -> None:
        if resources is None or row.get("collection", "") in resources:
            counts[scan_of(row.get("URI", "").partition("/files/")[0])] += 1
            if len(counts) > _MOST_SCANS:
                raise TooLong(f"files of more than {_MOST_SCANS} scans")

    counts = client.collect_rows(_files_path(session_id), Counter[str], add)
    return dict(counts)


def dicom_file_counts(client: XnatClient, session_id: str) -> dict[str, int]:
    """Number of DICOM files by scan ID."""
    return file_counts(client, session_id, DICOM_LABELS)


def dicom_file_names(client: XnatClient, session_id: str, wanted: Container[str]) -> Counter[str]:
    """The number of DICOM files of a session for each of the `wanted` names, without folders."""

    def add(names: Counter[str], row: Mapping[str, str]) -> None:
        if row.get("collection", "") in DICOM_LABELS and (name := row.get("Name", "")) in wanted:
            names[name] += 1

    return client.collect_rows(_files_path(session_id), Counter[str], add)


def dicom_catalog(client: XnatClient, session_id: str, scan: str, wanted: Container[str] | None = None) -> Catalog:
    """The entries of a scan's DICOM catalogs: those whose UID is `wanted`, or all; the others are counted (2.5).

    `scan` is its name in a URL, see `scan_names`. Raises NotXnat for a response that is not a catalog.
    """
    catalog: Catalog | None = None
    for label in sorted(DICOM_LABELS):
        path = url_path("/data/experiments", session_id, "scans", scan, "resources", label)
        try:
            reply = client.request("GET", path, limit=MAX_LISTING, into=lambda: Catalog(wanted))
        except NotFound:
            continue
        found: Catalog = reply.fed if reply.fed is not None else Catalog(wanted)
        try:
            found.finish()
        except ValueError as problem:
            raise NotXnat(f"The DICOM catalog that {client.server} sent {problem}.", status=reply.status) from None
        if catalog is None:
            catalog = found
        else:
            catalog.add(found)
    return catalog or Catalog(wanted)


def dicom_file_paths(client: XnatClient, session_id: str, scan: str, uid: str) -> Iterator[str]:
    """The paths of the files of a scan that may hold an instance, by its SOP Instance UID; see `dicom_catalog`."""
    entry = dicom_catalog(client, session_id, scan, {uid}).entries.get(uid)
    if entry is None or not entry.path:
        return
    for label in sorted(DICOM_LABELS):
        resource = ("/data/experiments", session_id, "scans", scan, "resources", label, "files")
        yield url_path(*resource, *unquote(entry.path).split("/"))


def dicom_catalog_uids(client: XnatClient, session_id: str) -> frozenset[str]:
    """The SOP Instance UIDs in the DICOM catalogs of a session, for all scans that URLs can address."""
    names = scan_names(scans(client, session_id)).values()
    catalogs = [dicom_catalog(client, session_id, name) for name in names if name is not None]
    return frozenset[str]().union(*(catalog.uids for catalog in catalogs))
