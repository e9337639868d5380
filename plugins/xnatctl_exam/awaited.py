"""The session that a run waits for: finds where its images are and names the commands that continue.

A person may archive the session under other names, move its prearchive row to another project, or delete it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import repeat

from xnatctl.api import (
    Commands,
    Difference,
    NotArchived,
    NotFound,
    PermissionDenied,
    PlaceState,
    PrearchiveRef,
    Refused,
    RunContext,
    ServerError,
    Stage,
    UploadItem,
    Verification,
    XnatctlError,
    counted,
)
from xnatctl.api.system import split_command
from xnatctl.api.xnat import (
    Finding,
    PrearchiveRow,
    SentImages,
    SessionInfo,
    archive_command,
    list_prearchive_rows,
    sessions_of_study,
)
from xnatctl_exam.session_match import match_session


class Awaited:
    """The images of a waiting stage, and the commands of its messages.

    `images` is the runner that sent them; without one the images are the items of the stage.
    """

    def __init__(self, context: RunContext, stage: Stage, images: SentImages | None = None) -> None:
        self._context = context
        self._client = context.client
        self._stage = stage
        self._images = images
        planned = images.planned if images is not None else stage.items
        self.studies = frozenset(item.study_instance_uid for item in planned if item.study_instance_uid)

    @property
    def items(self) -> Sequence[UploadItem]:
        """The images that the session should hold."""
        return self._images.delivered() if self._images is not None else self._stage.items

    # elsewhere

    def check_subject(self, session: SessionInfo) -> None:
        """Check the subject of the session. Raises Refused, NotArchived."""
        wanted = self._context.plan.destination.subject
        known = (session.subject_label.lower(), session.subject_id.lower())
        if not wanted or not session.subject_label or wanted.lower() in known:
            return
        message = (
            f"Session {session.label} ({session.id}) of project {session.project} belongs to subject "
            f"{session.subject_label}, not to {wanted}."
        )
        self._prove_nothing()
        if self._images is None:
            raise Refused(message, hint=f"Give -S {session.subject_label}, or name another session.")
        self._show(session, Difference(kind="subject", message=message))
        raise self._not_attached(message, self.attach("-S", session.subject_label))

    def refuse_elsewhere(self, rows: Collection[PrearchiveRef]) -> None:
        """Raise the error that names where the study is, if not in the requested place.

        `rows` are those that held it. Raises NotArchived; Refused when this run sent no images.
        """
        self.forget_archive_command()
        self._prove_nothing()
        destination = self._context.plan.destination
        for study in sorted(self.studies):
            for session in self._sessions(destination.project, study):
                raise self._renamed(session)
            for row in self._rows_elsewhere(study, rows):
                raise self._moved(row)
            for session in self._sessions(None, study):
                raise self._renamed(session)

    def _sessions(self, project: str | None, study: str) -> Sequence[SessionInfo]:
        """The sessions of a study; none if this user may not list them."""
        try:
            return sessions_of_study(self._client, project, study)
        except (NotFound, PermissionDenied, ServerError):
            return ()

    def _rows_elsewhere(self, study: str, rows: Collection[PrearchiveRef]) -> Sequence[PrearchiveRow]:
        """The rows that the session may have become, without other uploads of the same study."""
        places = {(ref.timestamp, ref.folder) for ref in rows}
        label = self._context.plan.destination.session

        def ours(row: PrearchiveRow) -> bool:
            return row.tag == study and (row.name == label or (row.timestamp, row.folder) in places)

        try:
            return list_prearchive_rows(self._client, keep=ours)
        except (NotFound, PermissionDenied, ServerError):
            return ()

    def _renamed(self, session: SessionInfo) -> XnatctlError:
        destination = self._context.plan.destination
        message = (
            f"The study is in the archive as session {session.label} ({session.id}) of project {session.project}, not "
            f"as {destination.session} of {destination.project}."
        )
        self._show(session, Difference(kind="label", message=message))
        subject = ["-S", session.subject_label] if session.subject_label and destination.subject else []
        error = self._not_attached(message, self.attach("-P", session.project, "-E", session.label, *subject))
        if self._images is not None and session.project != destination.project:
            self.next(self._context.rerun)  # it may be from another upload, and ours was deleted
        return error

    def _moved(self, row: PrearchiveRow) -> XnatctlError:
        destination = self._context.plan.destination
        where = f"as {row.name}" if row.project == destination.project else f"of project {row.project}"
        message = f"The study is in the prearchive {where} now ({row.timestamp}, {row.status})."
        self._context.report.state, self._context.report.uri = PlaceState.PREARCHIVE, row.ref.path
        self._context.report.verification = Verification(
            ok=False, differences=[Difference(kind="place", message=message)]
        )
        subject = destination.subject or row.subject
        self.next(archive_command(self._client.commands, row.ref, subject, destination.session))
        attach = self.attach("-P", row.project)
        return self._not_attached(message, attach, first="Archive them there, then run")

    def deleted(self) -> NotArchived:
        """The error for images that are gone."""
        context, destination = self._context, self._context.plan.destination
        message = (
            f"Session {destination.session} left the prearchive of project {destination.project} and is not in its "
            "archive: it was deleted, or moved to a project that you may not see."
        )
        differences = [
            Difference(
                kind="missing",
                message="not found on the server",
                series_instance_uid=item.series_instance_uid,
                sop_instance_uid=item.sop_instance_uid,
                path=item.path,
            )
            for item in self.items
        ]
        context.report.state, context.report.uri = PlaceState.UNKNOWN, None
        if self._images is None:
            return NotArchived(message, hint="Upload the images first, without --attach-only.")
        context.report.verification = Verification(ok=False, differences=differences)
        self.next(context.rerun)
        context.journal.doubt(self.items)
        return NotArchived(message, hint=f"To send it again, run: {context.rerun}")

    def _prove_nothing(self) -> None:
        """Withdraw the result of counting in the prearchive."""
        if self._images is not None:
            self._context.journal.reached(self.items, repeat(Finding.UNDECIDED, len(self.items)))

    def _show(self, session: SessionInfo, difference: Difference) -> None:
        """Report where the images are, and how they compare there."""
        report = self._context.report
        report.state, report.uri = PlaceState.ARCHIVED, f"/data/experiments/{session.id}"
        verification = match_session(self._client, session, self.items).verification
        report.verification = replace(verification, ok=False, differences=[*verification.differences, difference])

    # messages

    def attach(self, *options: str, trust: bool = False) -> str:
        """The command that attaches the resources later; empty if the planner named none."""
        later = str(self._stage.options.get("later") or "")
        if not later:
            return ""
        return Commands.with_options(
            later, dict(zip(options[::2], options[1::2], strict=True)), ("--trust-session",) * trust
        )

    def _not_attached(self, message: str, attach: str, first: str = "If that is right, run") -> XnatctlError:
        self.next(attach)
        hint = f"{first}: {attach}" if attach else "Attach the resources to that session, or archive it as asked."
        kind = Refused if self._images is None else NotArchived
        return kind(f"{message} Its resources ({self.files()}) were not attached.", hint=hint)

    def next(self, line: str) -> None:
        """Add a command that finishes the job, unless it is empty."""
        if line and line not in self._context.report.next:
            self._context.report.next.append(line)

    def files(self) -> str:
        """How many files wait for the session, in all resources, such as `3 files`."""
        stages = self._context.plan.stages
        return counted(sum(len(stage.items) for stage in stages if stage.resource is not None), "file")

    def forget_archive_command(self) -> None:
        """Remove the command that archives the session, because it is archived."""
        report = self._context.report
        archiving = split_command(self._client.commands.command("prearchive", "archive", server=False))
        report.next = [line for line in report.next if split_command(line)[: len(archiving)] != archiving]
