"""Checks on the server before the first byte, and refusals.

The import service refuses almost nothing: for a project that is unknown or not writable it answers 200 and stores the
data elsewhere (xnat-import 0.2, 3.2). So this is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from xnatctl.delivery.session.elsewhere import warn_of_study_elsewhere
from xnatctl.delivery.session.existing import ArchiveTarget, Objection, compare
from xnatctl.errors import NotFound, PermissionDenied, Refused
from xnatctl.model.commands import Commands
from xnatctl.model.plan import Overwrite, Placement, UploadPlan
from xnatctl.model.refs import Destination, clean_label, is_clean_label
from xnatctl.xnat import direct_archive, listing, prearchive, site
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.urls import is_segment
from xnatctl.xnat.listing import SessionInfo
from xnatctl.xnat.prearchive import PrearchiveRow
from xnatctl.xnat.site import ProjectAccess, Version

#: States of a row in which arriving files are accepted and lost (xnat-import 4.4).
_BUSY = frozenset({"BUILDING", "ARCHIVING", "MOVING", "DELETING", "SEPARATING"})

#: The format of accession IDs: `XNAT_E00012`.
_ACCESSION_ID = re.compile(r"_E\d+\Z")

#: Direct archive came with 1.8.3; the POST that ends it at once came with 1.8.4.
DIRECT_ARCHIVE_SINCE = (1, 8, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preflight:
    """The result of the checks. `destination` has the real project ID; `existing` is the session with the label.

    `ours`: this journal created it, or began to.
    """

    destination: Destination
    version: tuple[int, ...]
    existing: SessionInfo | None
    rows: tuple[PrearchiveRow, ...]
    direct: bool
    ours: bool = False
    warnings: tuple[str, ...] = ()


def is_busy(status: str) -> bool:
    """True while the server works on a row: `ARCHIVING`, `_ARCHIVING` or `QUEUED_ARCHIVING`."""
    return status.lstrip("_").removeprefix("QUEUED_") in _BUSY


def preflight(
    client: XnatClient,
    plan: UploadPlan,
    *,
    ours: bool = False,
    mine: Callable[[PrearchiveRow], bool] | None = None,
    quiet: Callable[[Destination], None] | None = None,
) -> Preflight:
    """Check the destination and refuse an upload that would fail.

    Data of earlier runs of this journal are no reason to refuse: with `ours` they began to create the session, and
    `mine` recognises their rows. `quiet` is called with the real project before reading anything that the server may be
    changing. Raises NotFound, PermissionDenied (project), Refused (labels, an existing session, a conflicting row).
    """
    study = plan.items[0].study_instance_uid
    check_addressable(plan.destination)
    version = site.version(client)
    project = writable_project(client, plan.destination.project)
    destination = replace(plan.destination, project=project)
    if quiet is not None:
        quiet(destination)
    existing = listing.find_session(client, project, destination.session)
    if existing is None:
        refuse_accession_id(client, destination)
    check_labels(client, destination, existing)
    if existing is not None:
        destination = replace(destination, session=existing.label)
    label = destination.session
    waiting = prearchive.list_rows(client, project, lambda row: row.name == label or row.tag == study)
    rows = tuple(row for row in waiting if row.name == label)
    if existing is not None and ours:
        # Our direct archive is not finished, so the existing session belongs to another upload.
        ours = direct_archive.get(client, project, study, destination.session) is None
    if existing is not None:
        series = frozenset(item.series_instance_uid for item in plan.items)
        destination = _check_existing(client, destination, existing, study, series=series, rows=rows)
        if plan.placement is Placement.ARCHIVE and plan.overwrite is Overwrite.NONE and not ours:
            raise _refused(destination, existing)
    _check_rows(client.commands, destination, rows, study)
    if plan.overwrite is Overwrite.NONE:
        _refuse_foreign(client.commands, plan.placement, [row for row in rows if mine is None or not mine(row)], study)
        if not ours and plan.placement is Placement.ARCHIVE:
            _refuse_direct(client, destination, study)
    new = plan.placement is Placement.ARCHIVE and existing is None
    known = existing is not None or ours or any(row.tag == study for row in rows)
    twice = () if known else warn_of_study_elsewhere(client, destination, study, (r for r in waiting if r not in rows))
    direct = (
        new
        and version.tuple >= DIRECT_ARCHIVE_SINCE
        and (not any(row.tag == study for row in rows) or (ours and _receives(client, destination, study)))
    )
    return Preflight(
        destination=destination,
        version=version.tuple,
        existing=existing,
        rows=rows,
        direct=direct,
        ours=ours,
        warnings=(*twice, *(_no_direct_archive(version) if new else ()), *_warnings(rows, study, label)),
    )


def check_archiving(client: XnatClient, row: PrearchiveRow, *, subject: str, session: str) -> SessionInfo | None:
    """The session with the label, into which a prearchive session would be merged; None if there is none.

    XNAT changes invalid labels when it archives, and reports another subject or study only afterwards, by a CONFLICT
    (xnat-import 1.6, 3.4). Raises Refused for both.
    """
    existing = listing.find_session(client, row.project, session)
    destination = Destination(server=client.server, project=row.project, subject=subject, session=session)
    check_labels(client, destination, existing)
    if existing is not None:
        _check_existing(client, destination, existing, row.tag, way="Use --subject")
    return existing


def writable_project(client: XnatClient, name: str) -> str:
    """The ID of a project that the user may write to. Raises NotFound, PermissionDenied."""
    access = _access(client, name)
    if not access.writable:
        raise PermissionDenied(
            f"{client.login_name} may read project {access.id} but not upload to it.",
            hint="Ask the project's owner for the member role.",
        )
    return access.id


def readable_project(client: XnatClient, name: str) -> str:
    """The ID of a project that the user may read. Raises NotFound."""
    return _access(client, name).id


def find_destination(client: XnatClient, where: Destination, *, sends: bool) -> Destination:
    """The destination with the names of the server.

    `sends`: the run will send something. Raises NotFound, PermissionDenied, and Refused for labels that XNAT
    would change.
    """
    if sends:
        check_addressable(where)
    project = (writable_project if sends else readable_project)(client, where.project)
    where = replace(where, server=client.server, project=project)
    existing = listing.find_session(client, project, where.session)
    if sends:
        if existing is None:
            refuse_accession_id(client, where)
        check_labels(client, where, existing)
    return where if existing is None else replace(where, session=existing.label)


def _access(client: XnatClient, name: str) -> ProjectAccess:
    access = site.project_access(client, name)
    if not access.exists:
        raise NotFound(
            f"{client.server} has no project {name}, or {client.login_name} may not see it.",
            hint="Check the project ID (it is case-sensitive), or ask its owner to add you.",
        )
    return access


def _subject_exists(client: XnatClient, destination: Destination) -> bool:
    return bool(listing.subjects(client, destination.project, destination.subject))


def refuse_accession_id(client: XnatClient, destination: Destination) -> None:
    """Refuse a label that is the accession ID of another session, because XNAT looks up IDs first.

    Raises Refused.
    """
    if not _ACCESSION_ID.search(destination.session):
        return
    other = listing.find_session(client, None, destination.session)
    if other is not None:
        raise Refused(
            f"{destination.session} is the accession ID of session {other.label} in project {other.project}.",
            hint=f"Upload to that session with -P {other.project} -E {other.label}, or choose a label for a new "
            "session.",
        )


def check_labels(client: XnatClient, destination: Destination, existing: SessionInfo | None) -> None:
    """Refuse a new label that XNAT would change (xnat-import 1.6). Raises Refused."""
    if existing is None and not is_clean_label(destination.session):
        raise _unclean("session", destination.session)
    if not is_clean_label(destination.subject) and not _subject_exists(client, destination):
        raise _unclean("subject", destination.subject)


def check_addressable(destination: Destination) -> None:
    """Refuse labels that no URL can carry: they can only be new, and XNAT would change them. Raises Refused."""
    for noun, label in (("session", destination.session), ("subject", destination.subject)):
        if not is_segment(label):
            raise _unclean(noun, label)


def _unclean(noun: str, label: str) -> Refused:
    return Refused(
        f"XNAT would rename the new {noun} {label!r}: it keeps only letters, digits, _ and - in labels.",
        hint=f"Use {clean_label(label)!r}, which is XNAT's form of it.",
    )


def _refused(destination: Destination, existing: SessionInfo) -> Refused:
    """The error for an existing session with `--overwrite none`."""
    return Refused(
        f"{_name(destination, existing)} already exists, and --overwrite none does not change existing sessions.",
        hint="Choose another session label, or --overwrite append to add to it.",
    )


def _name(destination: Destination, existing: SessionInfo) -> str:
    return f"Session {existing.label} ({existing.id}) of project {destination.project}"


def _check_existing(
    client: XnatClient,
    destination: Destination,
    existing: SessionInfo,
    study: str,
    *,
    series: Collection[str] = (),
    rows: Sequence[PrearchiveRow] = (),
    way: str = "Upload with -S",
) -> Destination:
    """Refuse early what XNAT would refuse only after everything was sent (xnat-import 3.4, checks 4 to 6)."""
    target = ArchiveTarget(
        project=destination.project,
        subject=destination.subject,
        session=destination.session,
        study=study,
        series=series,
    )
    found = compare(client, existing, target)
    if found.objection is None:
        return replace(destination, subject=existing.subject_label or destination.subject)
    if found.objection is Objection.SUBJECT:
        hint = f"{way} {existing.subject_label}, or choose another session label."
    else:
        hint = "One session holds one study: choose another session label."
    for row in rows:
        if row.tag == study:
            hint += (
                f" Files of this study wait in the prearchive as {row.ref}; show them with: "
                f"{client.commands.command('prearchive', 'show', *row.ref.triple)}"
            )
    raise Refused(f"{found.message}.", hint=hint)


def _refuse_foreign(commands: Commands, placement: Placement, rows: Sequence[PrearchiveRow], study: str) -> None:
    """With `--overwrite none`, raise Refused for a prearchive session with the label.

    Files of the same study would be merged into the row. A row of another study only prevents archiving.
    """
    for row in rows:
        if row.tag != study and placement is not Placement.ARCHIVE:
            continue
        what = "this study" if row.tag == study else f"study {row.tag}"
        raise Refused(
            f"A session {row.name} of {what} waits in the prearchive of project {row.project} ({row.timestamp}, "
            f"{row.status}), and --overwrite none does not change existing sessions.",
            hint="Archive it, delete it, or choose another session label. Show it with: "
            + commands.command("prearchive", "show", *row.ref.triple),
        )


def _receives(client: XnatClient, destination: Destination, study: str) -> bool:
    """Whether a direct archive of this study accepts files, which is independent of rows in the prearchive."""
    state = direct_archive.get(client, destination.project, study, destination.session)
    return state is not None and state.get("status") == "RECEIVING"


def _refuse_direct(client: XnatClient, destination: Destination, study: str) -> None:
    """With `--overwrite none`, raise Refused if another upload is sending the same study to the label."""
    state = direct_archive.get(client, destination.project, study, destination.session)
    if state is not None:
        raise Refused(
            f"The server is receiving session {destination.session} of this study from another upload "
            f"({state.get('status') or 'RECEIVING'}), and --overwrite none does not change existing sessions.",
            hint="Wait until it is archived, or choose another session label.",
        )


def _check_rows(commands: Commands, destination: Destination, rows: tuple[PrearchiveRow, ...], study: str) -> None:
    """Check the rows that XNAT would merge our files into: same project, study and label (xnat-import 4.2)."""
    for row in rows:
        if row.tag != study:
            continue
        if is_busy(row.status):
            raise Refused(
                f"Session {row.name} in the prearchive of {row.project} is {row.status}; files that arrive now "
                "would be lost.",
                hint="Wait until it is done, then run the command again. It is shown by: "
                + commands.command("prearchive", "list", "-P", row.project),
            )
        if row.subject and row.subject.lower() != destination.subject.lower():
            raise Refused(
                f"The prearchive of {row.project} holds the same study as {row.name} under subject {row.subject}, "
                f"not {destination.subject}; XNAT would add the files to it.",
                hint="Archive it or delete it first; show it with: "
                + commands.command("prearchive", "show", *row.ref.triple),
            )


def _no_direct_archive(version: Version) -> list[str]:
    if version.tuple >= DIRECT_ARCHIVE_SINCE:
        return []
    why = (
        f"XNAT {version.text} has no direct archive (1.8.4 or later)"
        if version.tuple
        else f"The server does not report a version (it returns {version.text!r}), so it may have no direct archive"
    )
    return [f"{why}: the session goes through the prearchive and is archived from there."]


def _warnings(rows: tuple[PrearchiveRow, ...], study: str, label: str) -> list[str]:
    warnings = []
    for row in rows:
        if row.tag == study:
            warnings.append(
                f"The prearchive holds files of session {label} already ({row.status}); the upload adds the others."
            )
        else:
            warnings.append(
                f"The prearchive holds another study under the label {label} ({row.timestamp}, {row.status}); "
                "archive it under another label, or delete it."
            )
    return warnings
