"""Compares files on disk with a session on the server, at any time and without a journal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from xnatctl.api import (
    Difference,
    ItemOutcome,
    Journal,
    Level,
    Outcome,
    PermissionDenied,
    PlaceState,
    Report,
    Status,
    UploadItem,
    UploadPlan,
    Verification,
    VerificationFailed,
    XnatctlError,
    counted,
)
from xnatctl.api.commands import fill_items, remedy_for
from xnatctl.api.xnat import (
    DOUBTFUL,
    Comparison,
    PrearchiveRow,
    SessionInfo,
    Wanted,
    XnatClient,
    find_prearchive_rows,
    find_session,
    get_direct_archive,
    read_waiting,
    readable_project,
    verify_archived,
    verify_staged,
)


def check_session(client: XnatClient, plan: UploadPlan, report: Report, upload: str) -> XnatctlError | None:
    """Compare the items of a plan with the session that it names, and fill the report; changes nothing.

    `upload` is the command that sends what is missing.

    Returns the error, or None if nothing differs. Raises NotFound for a project that is not visible.
    """
    started = time.monotonic()
    comparison: Comparison | None = None
    project = readable_project(client, plan.destination.project)
    report.destination = replace(plan.destination, server=client.server, project=project)
    session = find_session(client, project, plan.destination.session)
    rows = _rows(client, project, plan)
    if session is not None:
        report.state, report.uri = PlaceState.ARCHIVED, f"/data/experiments/{session.id}"
        other = _other_study(plan, session)
        wanted = replace(_wanted(plan), was_there=other is not None)
        comparison = verify_archived(client, session.id, plan.items, wanted)
        report.verification = comparison.verification
        if other is not None and not report.verification.ok:
            report.verification.differences.insert(0, other)
        _compare_subject(report, session)
    elif rows:
        report.state, report.uri = PlaceState.PREARCHIVE, rows[0].ref.path
        comparison = _verify_row(client, rows[0], plan)
        report.verification = comparison.verification
    elif (status := _receiving(client, project, plan)) is not None:
        comparison = _verify_direct(plan, status)
        report.verification = comparison.verification
    else:
        report.verification = _all_missing(plan.items)
    report.warnings += [
        f"The prearchive holds a part of this session ({row.timestamp}, {row.status}); it is not in the archive."
        for row in rows
        if session is not None
    ]
    journal = Journal()
    journal.open(plan.items)
    journal.record(tuple(_compared(plan.items, comparison, report.verification)))
    if comparison is not None:
        journal.reached(plan.items, comparison.findings)
    fill_items(report, journal.states(), plan)
    report.counts.sent = report.bytes = 0
    report.counts.failed = report.counts.found - report.counts.verified
    report.seconds = time.monotonic() - started
    error = _verdict(report, plan, upload)
    report.status = Status.COMPLETE if error is None else Status.PARTIAL
    return error


def _compared(
    items: Sequence[UploadItem], comparison: Comparison | None, verification: Verification
) -> Iterator[ItemOutcome]:
    """The items that were found or differ; the others stay planned, because nothing is known about them."""
    named = {difference.sop_instance_uid for difference in verification.differences if difference.kind in DOUBTFUL}
    levels = comparison.levels if comparison is not None else (Level.NONE for _ in items)
    for item, level in zip(items, levels, strict=True):
        if level is not Level.NONE or item.sop_instance_uid in named:
            yield ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED)


def _rows(client: XnatClient, project: str, plan: UploadPlan) -> Sequence[PrearchiveRow]:
    """Prearchive rows of the same session; none if the user may not list them."""
    study = plan.items[0].study_instance_uid
    try:
        return find_prearchive_rows(client, project, label=plan.destination.session, study_uid=study)
    except PermissionDenied:
        return ()


def _receiving(client: XnatClient, project: str, plan: UploadPlan) -> str | None:
    """The status of an unfinished direct archive of the same session; None when there is none, or none may be seen."""
    study = plan.items[0].study_instance_uid
    try:
        state = get_direct_archive(client, project, study, plan.destination.session)
    except PermissionDenied:
        return None
    return None if state is None else str(state.get("status") or "RECEIVING")


def _verify_direct(plan: UploadPlan, status: str) -> Comparison:
    """A direct archive in progress: the server lists its files only once it is archived."""
    message = f"the server has not archived the session yet ({status})"
    verification = Verification(ok=False, differences=[Difference(kind="state", message=message)])
    return Comparison(items=plan.items, findings=bytearray(len(plan.items)), verification=verification)


def _other_study(plan: UploadPlan, session: SessionInfo) -> Difference | None:
    """The difference if the session has a study that is not on disk; None if it shows no study."""
    studies = sorted({item.study_instance_uid for item in plan.items})
    if not session.uid or session.uid in studies:
        return None
    on_disk = f"study {studies[0]}" if len(studies) == 1 else f"{len(studies):,} other studies"
    return Difference(kind="study", message=f"it holds study {session.uid}; on disk is {on_disk}")


def _compare_subject(report: Report, session: SessionInfo) -> None:
    wanted = report.destination.subject.casefold()
    if session.subject_label and wanted not in (session.subject_label.casefold(), session.subject_id.casefold()):
        message = f"the session belongs to subject {session.subject_label}, not to {report.destination.subject}"
        report.verification.differences.append(Difference(kind="subject", message=message))
        report.verification.ok = False


def _wanted(plan: UploadPlan) -> Wanted:
    options = plan.sending[0].options
    return Wanted(exact=bool(options.get("exact")), checksum=bool(options.get("checksum")))


def _verify_row(client: XnatClient, row: PrearchiveRow, plan: UploadPlan) -> Comparison:
    """Count the files of a prearchive session, which is possible once the server has read it."""
    if row.status in ("READY", "CONFLICT"):
        exact = _wanted(plan).exact
        comparison = verify_staged(client, row.ref, plan.items, exact=exact)
        read = None if comparison.verification.ok else read_waiting(client, row.ref, plan.items, exact=exact)
        return comparison if read is None else read[0]
    message = f"the session is {row.status} in the prearchive and cannot be counted yet"
    verification = Verification(ok=False, differences=[Difference(kind="state", message=message)])
    return Comparison(items=plan.items, findings=bytearray(len(plan.items)), verification=verification)


def _all_missing(items: Sequence[UploadItem]) -> Verification:
    differences = [
        Difference(
            kind="missing",
            message="the session is neither in the archive nor in the prearchive",
            series_instance_uid=item.series_instance_uid,
            sop_instance_uid=item.sop_instance_uid,
            path=item.path,
        )
        for item in items
    ]
    return Verification(level=Level.UID, ok=False, differences=differences)


def _verdict(report: Report, plan: UploadPlan, upload: str) -> XnatctlError | None:
    where = f"session {report.destination.session} of project {report.destination.project}"
    differences = report.verification.differences
    if plan.unsendable:
        entry = plan.unsendable[0]
        return VerificationFailed(
            f"{counted(len(plan.unsendable), 'file')} on disk cannot be read, so {where} cannot be compared: first "
            f"{entry.path} ({entry.reason}).",
            hint=f"{remedy_for(plan.unsendable)}, then run the command again.",
        )
    if report.verification.ok:
        return None
    if not differences:
        limit = report.verification.limits[0] if report.verification.limits else "Nothing could be compared."
        return VerificationFailed(
            f"It cannot be verified that {where} holds what is on disk. {limit}",
            hint="Archive the session, then run the same command again: it compares the archived session by UID.",
        )
    if report.uri is None and differences[0].kind == "state":
        return VerificationFailed(
            f"{where[0].upper()}{where[1:]} cannot be compared: {differences[0].message}.",
            hint="An upload of this session is not complete. If it was interrupted or did not deliver every file, "
            f"finish it with: {upload}",
        )
    if report.uri is None:
        message = f"{report.destination.server} has no {where}, neither in the archive nor in the prearchive."
        return VerificationFailed(message, hint=f"Upload it with: {upload}")
    message = f"differs from what is on disk: {counted(len(differences), 'difference')}, first: {differences[0]}"
    if differences[0].kind == "study":
        message = f"belongs to a different study: {differences[0].message}"
    return VerificationFailed(f"{where[0].upper()}{where[1:]} {message}.", hint=_remedy(report, upload))


def _remedy(report: Report, upload: str) -> str:
    kinds = {difference.kind for difference in report.verification.differences}
    if "subject" in kinds:
        return "Check -S and -E: an upload to another subject's session is refused."
    if "study" in kinds:
        return "Check -E. If it is the right session, an anonymisation script of the site changed its UIDs."
    if kinds == {"extra"}:
        return "The report names what is on the server only. Without --exact these are not differences."
    if kinds == {"state"}:
        return "Wait until the server has read the session, then run the same command again."
    return f"The report names each one. To send what is missing: {upload}"
