"""Waiting until the session of a plan is in the archive, and making sure that it is the session of the images on disk.

Between the upload and the archive a person may drop a scan, delete the prearchive row, move it, or archive it under
another label; and another study may take the label. So the session is compared with the images before anything is
attached to it, and from then on it is addressed by its accession ID.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat

from xnatctl.delivery.course import Course
from xnatctl.delivery.judgement import Finding
from xnatctl.delivery.session_leg import SessionLeg
from xnatctl.delivery.session_match import SessionMatch, match_session
from xnatctl.delivery.settle import Clockwork, archive_command
from xnatctl.errors import (
    NotArchived,
    NotFound,
    PermissionDenied,
    Refused,
    ServerError,
    VerificationFailed,
    XnatctlError,
)
from xnatctl.model.commands import command, with_options
from xnatctl.model.events import EventKind
from xnatctl.model.plan import Payload, Stage, UploadItem
from xnatctl.model.refs import PrearchiveRef
from xnatctl.model.report import Difference, PlaceState, Verification
from xnatctl.model.words import counted
from xnatctl.xnat import direct_archive, listing, prearchive, site
from xnatctl.xnat.listing import SessionInfo
from xnatctl.xnat.prearchive import PrearchiveRow

#: How often a row that left the prearchive is looked for in the archive: a listing may lag behind the archiving.
_LOOKS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """Where the session is at this moment. `session` is what the archive has under the label.

    `row` and `direct` say that more is to come. `visible` is False when this user may not list the prearchive.
    """

    session: SessionInfo | None
    row: PrearchiveRow | None
    direct: str
    visible: bool

    @property
    def waiting(self) -> bool:
        """True while a part of the session is on its way to the archive."""
        return self.row is not None or bool(self.direct)

    def describe(self) -> str:
        if self.row is not None:
            return f"it is {self.row.status} in the prearchive"
        return f"the server is still {self.direct} it" if self.direct else "the server does not know it"


class AwaitLeg:
    """One stage that waits for the session and compares it with the images. After `run` the course knows the session.

    `images` is the leg that sent them; without one the images are the items of the stage.
    """

    def __init__(self, course: Course, stage: Stage, images: SessionLeg | None = None) -> None:
        self._course = course
        self._client = course.client
        self._stage = stage
        self._images = images
        self._seconds = float(stage.options.get("seconds", 0))
        self._trusted = bool(stage.options.get("trust_session"))
        planned = images.planned if images is not None else stage.items
        self._studies = frozenset(item.study_instance_uid for item in planned if item.study_instance_uid)
        self._rows: set[PrearchiveRef] = set()

    def run(self) -> None:
        """Wait until the session is archived, and compare.

        Raises NotArchived when the time is over or the session is elsewhere, Refused (VerificationFailed once images
        were sent) for a session that does not hold the images, VerificationFailed for images that differ in it.
        """
        course = self._course
        settled, course.session = course.session, None
        session = settled or self._wait()
        if settled is None:
            self._check_subject(session)
        course.report.state = PlaceState.ARCHIVED
        course.report.uri = f"/data/experiments/{session.id}"
        differs = self._compare_images(session) if settled is None else None
        match = self._match(session)
        accepted = match.holds_some if settled is not None else match.holds_all
        if not accepted and not self._trusted:
            raise self._other_session(match, differs)
        if not match.total:
            course.warn(
                f"There are no images on disk to compare session {session.label} ({session.id}) with; its resources "
                "go to it because it was named."
            )
        elif not accepted:
            course.warn(f"{match.describe()} Its resources go to it because of --trust-session.")
        elif self._images is None and (differing := match.verification.differences):
            course.warn(
                f"Session {session.label} ({session.id}) differs from the images on disk: "
                f"{counted(len(differing), 'difference')}, first {differing[0].path}: {differing[0].message}. Look "
                "with xnatctl session verify."
            )
        course.session = session
        subject = session.subject_label or course.plan.destination.subject
        course.go_to(replace(course.plan.destination, subject=subject, session=self._label(session)))
        if differs is not None:
            raise differs

    @property
    def _items(self) -> Sequence[UploadItem]:
        """The images that the session is to hold."""
        return self._images.delivered() if self._images is not None else self._stage.items

    # waiting

    def _wait(self) -> SessionInfo:
        """Look until the session is archived. Raises NotArchived when the time is over, or it went elsewhere."""
        course = self._course
        self._check_project()
        if course.staged is not None:
            self._rows.add(course.staged)
        polls = Clockwork(pause=course.pause, limit=self._seconds).polls()
        said, settled = "", 0
        while True:
            look = self._look()
            if not look.waiting and look.session is not None and self._is_ours(look.session):
                self._forget_archive_command()
                return look.session
            # A row that left the prearchive, or another study in its place: neither changes by waiting.
            final = not look.waiting and (look.session is not None or (look.visible and bool(self._rows)))
            settled = settled + 1 if final else 0
            if settled >= _LOOKS:
                return self._elsewhere(look)
            if said != (said := look.describe()):
                message = f"waiting until the session is in the archive: {said}"
                course.tell(EventKind.SETTLING, message, state="waiting")
            if not polls():
                if final:
                    return self._elsewhere(look)
                raise self._not_archived(look)

    def _is_ours(self, session: SessionInfo) -> bool:
        """False for a session that says that it holds another study."""
        return not session.uid or not self._studies or session.uid in self._studies

    def _check_project(self) -> None:
        """Nobody waits a quarter of an hour for what cannot be written to in the end."""
        destination = self._course.plan.destination
        access = site.project_access(self._client, destination.project)
        if not access.exists:
            raise NotFound(
                f"{self._client.server} has no project {destination.project}, or {self._client.login_name} may not see "
                "it.",
                hint="Check the project ID (capitals matter), or ask its owner to add you.",
            )
        if not access.writable:
            raise PermissionDenied(
                f"{self._client.login_name} may read project {access.id} but not upload to it.",
                hint="Ask the project's owner for the member role.",
            )
        self._course.go_to(replace(destination, project=access.id))

    def _look(self) -> _Look:
        destination = self._course.plan.destination
        row, visible = None, True
        try:
            rows = prearchive.list_rows(self._client, destination.project, self._is_awaited)
            self._rows |= {row.ref for row in rows}
            row = rows[0] if rows else None
        except PermissionDenied:
            visible = False  # only the archive can be looked at
        direct = ""
        for study in self._studies:
            state = direct_archive.get(self._client, destination.project, study, destination.session)
            direct = direct or (str(state.get("status") or "receiving").lower() if state is not None else "")
        # Last, so that a session that is archived between the looks is found.
        session = listing.find_session(self._client, destination.project, destination.session)
        return _Look(session=session, row=row, direct=direct, visible=visible)

    def _is_awaited(self, row: PrearchiveRow) -> bool:
        """True for the row that was sent, and for any other part of the same session."""
        same = row.name == self._course.plan.destination.session and (not self._studies or row.tag in self._studies)
        return row.ref in self._rows or same

    def _label(self, session: SessionInfo) -> str:
        destination = self._course.plan.destination
        return session.label if session.project == destination.project else destination.session

    def _check_subject(self, session: SessionInfo) -> None:
        """Nothing is attached to the session of another subject."""
        wanted = self._course.plan.destination.subject
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
        raise self._not_attached(message, self._attach("-S", session.subject_label))

    # comparing

    def _compare_images(self, session: SessionInfo) -> VerificationFailed | None:
        """Compare what this plan sent with the session that somebody archived meanwhile."""
        if self._images is None:
            return None
        try:
            self._images.compare(session)
        except VerificationFailed as error:
            return error
        return None

    def _match(self, session: SessionInfo) -> SessionMatch:
        """How the session compares with the images; asks nothing again that this run has compared already."""
        verification = self._course.report.verification
        if self._images is not None and self._images.compared:
            total = len(self._items)
            return SessionMatch(
                session=session, studies=tuple(sorted(self._studies)), total=total, verification=verification
            )
        return match_session(self._client, session, self._items)

    def _other_session(self, match: SessionMatch, differs: XnatctlError | None) -> XnatctlError:
        """The error for a session that does not hold the images on disk."""
        if differs is None:
            self._course.report.verification = replace(match.verification, ok=False)
        if self._images is not None:
            self._next(self._course.runtime.rerun)
        trusting = self._attach(trust=True)
        self._next(trusting)
        message = f"{match.describe()} Its resources ({self._files()} files) were not attached."
        hint = "Name the session of these images, or upload them first."
        if trusting:
            hint = f"{hint} If this is the right session, and anonymisation changed its UIDs, run: {trusting}"
        return Refused(message, hint=hint) if self._images is None else VerificationFailed(message, hint=hint)

    # elsewhere

    def _elsewhere(self, look: _Look) -> SessionInfo:
        """Find what is neither in the prearchive nor in the archive under its label any more.

        Returns the session of that label when it is all there is, though it says that it holds another study. Raises
        NotArchived with where the images are.
        """
        self._forget_archive_command()
        self._prove_nothing()
        destination = self._course.plan.destination
        for study in sorted(self._studies):
            for session in self._sessions(destination.project, study):
                raise self._renamed(session)
            for row in self._rows_elsewhere(study):
                raise self._moved(row)
            for session in self._sessions(None, study):
                raise self._renamed(session)
        if look.session is not None:
            return look.session
        raise self._deleted()

    def _sessions(self, project: str | None, study: str) -> Sequence[SessionInfo]:
        """The sessions of a study; none where the server lets nobody ask for them."""
        try:
            return listing.sessions_of_study(self._client, project, study)
        except (NotFound, PermissionDenied, ServerError):
            return ()

    def _rows_elsewhere(self, study: str) -> Sequence[PrearchiveRow]:
        try:
            return prearchive.list_rows(self._client, keep=lambda row: row.tag == study)
        except (NotFound, PermissionDenied, ServerError):
            return ()

    def _renamed(self, session: SessionInfo) -> NotArchived:
        destination = self._course.plan.destination
        message = (
            f"The study is in the archive as session {session.label} ({session.id}) of project {session.project}, not "
            f"as {destination.session} of {destination.project}."
        )
        self._show(session, Difference(kind="label", message=message))
        subject = ["-S", session.subject_label] if session.subject_label and destination.subject else []
        return self._not_attached(message, self._attach("-P", session.project, "-E", session.label, *subject))

    def _moved(self, row: PrearchiveRow) -> NotArchived:
        destination = self._course.plan.destination
        where = f"as {row.name}" if row.project == destination.project else f"of project {row.project}"
        message = f"The study is in the prearchive {where} now ({row.timestamp}, {row.status})."
        self._course.report.state, self._course.report.uri = PlaceState.PREARCHIVE, row.ref.path
        self._course.report.verification = Verification(
            ok=False, differences=[Difference(kind="place", message=message)]
        )
        subject = destination.subject or row.subject
        self._next(archive_command(row.ref, subject, destination.session))
        attach = self._attach("-P", row.project)
        return self._not_attached(message, attach, first="Archive them there, then run")

    def _deleted(self) -> NotArchived:
        """Neither here nor there: the images are gone."""
        course, destination = self._course, self._course.plan.destination
        message = (
            f"Session {destination.session} left the prearchive of project {destination.project} and is not in its "
            "archive: somebody deleted it, or moved it to where this user may not look."
        )
        differences = [
            Difference(
                kind="missing",
                message="not found on the server",
                series_instance_uid=item.series_instance_uid,
                sop_instance_uid=item.sop_instance_uid,
                path=item.path,
            )
            for item in self._items
        ]
        course.report.state, course.report.uri = PlaceState.UNKNOWN, None
        if self._images is None:
            return NotArchived(message, hint="Upload the images first, without --attach-only.")
        course.report.verification = Verification(ok=False, differences=differences)
        self._next(course.runtime.rerun)
        course.journal.doubt(self._items)
        return NotArchived(message, hint=f"To send it again, run: {course.runtime.rerun}")

    def _prove_nothing(self) -> None:
        """What was counted in the prearchive is not there any more."""
        if self._images is not None:
            self._course.journal.reached(self._items, repeat(Finding.UNDECIDED, len(self._items)))

    def _show(self, session: SessionInfo, difference: Difference) -> None:
        """Report where the images are, and how they compare there."""
        report = self._course.report
        report.state, report.uri = PlaceState.ARCHIVED, f"/data/experiments/{session.id}"
        verification = match_session(self._client, session, self._items).verification
        report.verification = replace(verification, ok=False, differences=[*verification.differences, difference])

    # what is said

    def _attach(self, *options: str, trust: bool = False) -> str:
        """The command that attaches the resources later, with other options; empty where the planner named none."""
        later = str(self._stage.options.get("later") or "")
        if not later:
            return ""
        return with_options(later, dict(zip(options[::2], options[1::2], strict=True)), ("--trust-session",) * trust)

    def _not_attached(self, message: str, attach: str, first: str = "If that is right, run") -> NotArchived:
        self._next(attach)
        hint = (
            f"{first}: {attach}" if attach else "Attach the resources to that session, or archive it as it was asked."
        )
        return NotArchived(f"{message} Its resources ({self._files()} files) were not attached.", hint=hint)

    def _next(self, line: str) -> None:
        """One more command that finishes the job; nothing for an empty one."""
        if line and line not in self._course.report.next:
            self._course.report.next.append(line)

    def _files(self) -> int:
        return sum(len(stage.items) for stage in self._course.plan.stages if stage.payload is Payload.RESOURCE)

    def _forget_archive_command(self) -> None:
        """What is archived already is not to be archived by hand."""
        report = self._course.report
        archiving = shlex.split(command("prearchive", "archive", server=False))
        report.next = [line for line in report.next if shlex.split(line)[: len(archiving)] != archiving]

    def _not_archived(self, look: _Look) -> NotArchived:
        course, destination = self._course, self._course.plan.destination
        if look.row is not None:
            ref = look.row.ref
            course.report.state, course.report.uri = PlaceState.PREARCHIVE, ref.path
            subject = destination.subject or look.row.subject
            self._next(archive_command(ref, subject, destination.session))
        waited = f" after {self._seconds:.0f} s" if self._seconds else ""
        later = self._attach()
        self._next(later)
        return NotArchived(
            f"Session {destination.session} of project {destination.project} is not in the archive{waited}: "
            f"{look.describe()}. {self._files()} files for its resources were not sent.",
            hint=f"When it is archived, run: {later}" if later else "When it is archived, run the same command again.",
        )
