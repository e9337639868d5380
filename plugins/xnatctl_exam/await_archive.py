"""Waits until the session of a plan is archived, and checks that it holds the images on disk.

Before archiving, a person may delete a scan or the row, move it, or archive it under another label, and another study
may take the label. So the session is compared with the images before files are attached, and is then addressed by its
accession ID.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xnatctl.api import (
    EventKind,
    NotArchived,
    NotFound,
    PermissionDenied,
    PlaceState,
    PrearchiveRef,
    Refused,
    RunContext,
    Stage,
    VerificationFailed,
    XnatctlError,
    counted,
    human_duration,
)
from xnatctl.api.xnat import (
    PrearchiveRow,
    SessionInfo,
    archive_command,
    find_session,
    get_direct_archive,
    list_prearchive_rows,
    looks,
    project_access,
)
from xnatctl_exam.awaited import Awaited
from xnatctl_exam.session_match import SessionMatch, match_session

#: Polls of the archive after a row left the prearchive, because listings may lag behind archiving.
_LOOKS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class _SessionState:
    """Where the session is. `session` is the archived session with the label.

    `row` and `direct` are parts that are not archived yet. `visible` is False if this user may not list the prearchive.
    """

    session: SessionInfo | None
    row: PrearchiveRow | None
    direct: str
    visible: bool

    @property
    def waiting(self) -> bool:
        """True while a part of the session is not archived."""
        return self.row is not None or bool(self.direct)

    def describe(self) -> str:
        if self.row is not None:
            return f"it is {self.row.status} in the prearchive"
        return f"the server is still {self.direct} it" if self.direct else "the server does not know it"


class AwaitArchiveRunner:
    """Waits for the session and compares it with the images. After `run` the context has the session.

    The images are those of an earlier stage, or else the items of this stage.
    """

    def __init__(self, context: RunContext, stage: Stage) -> None:
        self._context = context
        self._client = context.client
        self._images = images = context.images
        self._awaited = Awaited(context, stage, images)
        self._seconds = float(stage.options.get("seconds", 0))
        self._trusted = bool(stage.options.get("trust_session"))
        self._rows: set[PrearchiveRef] = set()

    def check(self) -> None:
        """Nothing can be checked before the stage runs."""

    def give_up(self) -> None:
        """The pause of the run ends waiting."""

    def run(self) -> None:
        """Wait until the session is archived, and compare.

        Raises NotArchived if the time is over or the session is elsewhere, Refused (VerificationFailed if images were
        sent) for a session without the images, VerificationFailed for images that differ.
        """
        context = self._context
        settled, context.session = context.session, None
        session = settled or self._wait()
        if settled is None:
            self._awaited.check_subject(session)
        context.report.state = PlaceState.ARCHIVED
        context.report.uri = f"/data/experiments/{session.id}"
        differs = self._compare_images(session) if settled is None else None
        match = self._match(session)
        accepted = match.holds_some if settled is not None else match.holds_all
        if not accepted and not self._trusted:
            raise self._other_session(match, differs)
        if not match.total:
            context.warn(
                f"There are no readable images on disk to compare session {session.label} ({session.id}) with; its "
                "resources go to it because it was named."
            )
        elif not accepted:
            context.warn(f"{match.describe()} Its resources are attached because of --trust-session.")
        elif self._images is None and (differing := match.verification.differences):
            context.warn(
                f"Session {session.label} ({session.id}) differs from the images on disk: "
                f"{counted(len(differing), 'difference')}, first {differing[0].path}: {differing[0].message}. "
                "Check with xnatctl session verify."
            )
        context.session = session
        subject = session.subject_label or context.plan.destination.subject
        context.go_to(replace(context.plan.destination, subject=subject, session=self._label(session)))
        if differs is not None:
            raise differs

    # waiting

    def _wait(self) -> SessionInfo:
        """Poll until the session is archived. Raises NotArchived if the time is over or the session is elsewhere."""
        context = self._context
        self._check_project()
        if context.staged is not None:
            self._rows.add(context.staged)
        polls = context.schedule.polls(self._seconds)
        shown, settled, unknown = "", 0, 0
        while True:
            look = self._look()
            if not look.waiting and look.session is not None and self._is_ours(look.session):
                self._awaited.forget_archive_command()
                return look.session
            # The row left the prearchive, or another study took its label: waiting does not help.
            known = look.session is not None or bool(self._rows)
            final = not look.waiting and (look.session is not None or (look.visible and bool(self._rows)))
            unknown = unknown + 1 if self._images is None and look.visible and not look.waiting and not known else 0
            if unknown >= _LOOKS:
                self._awaited.refuse_elsewhere(self._rows)
                raise self._not_archived(look)
            settled = settled + 1 if final else 0
            if settled >= _LOOKS:
                return self._elsewhere(look)
            if shown != (shown := look.describe()):
                message = f"waiting until the session is archived: {shown}"
                context.tell(EventKind.SETTLING, message, state="waiting")
            if not polls():
                if final:
                    return self._elsewhere(look)
                if not look.waiting:
                    self._awaited.refuse_elsewhere(self._rows)
                raise self._not_archived(look)

    def _is_ours(self, session: SessionInfo) -> bool:
        """False for a session of another study, unless --trust-session is given."""
        studies = self._awaited.studies
        named = self._trusted and self._images is None
        return named or not session.uid or not studies or session.uid in studies

    def _check_project(self) -> None:
        """Check access to the project before waiting."""
        destination = self._context.plan.destination
        access = project_access(self._client, destination.project)
        if not access.exists:
            raise NotFound(
                f"{self._client.server} has no project {destination.project}, or {self._client.login_name} may not see "
                "it.",
                hint="Check the project ID (it is case-sensitive), or ask its owner to add you.",
            )
        if not access.writable:
            raise PermissionDenied(
                f"{self._client.login_name} may read project {access.id} but not upload to it.",
                hint="Ask the project's owner for the member role.",
            )
        self._context.go_to(replace(destination, project=access.id))

    def _look(self) -> _SessionState:
        destination = self._context.plan.destination
        row, visible = None, True
        try:
            rows = list_prearchive_rows(self._client, destination.project, self._is_awaited)
            self._rows |= {row.ref for row in rows}
            row = rows[0] if rows else None
        except PermissionDenied:
            visible = False  # only the archive is visible
        direct = ""
        for study in self._awaited.studies:
            state = get_direct_archive(self._client, destination.project, study, destination.session)
            direct = direct or (str(state.get("status") or "receiving").lower() if state is not None else "")
        # Last, so that a session that is archived between the requests is found.
        session = find_session(self._client, destination.project, destination.session)
        return _SessionState(session=session, row=row, direct=direct, visible=visible)

    def _is_awaited(self, row: PrearchiveRow) -> bool:
        """True for the row that was sent, and for any other part of the same session."""
        studies = self._awaited.studies
        same = row.name == self._context.plan.destination.session and (not studies or row.tag in studies)
        return row.ref in self._rows or same

    def _label(self, session: SessionInfo) -> str:
        destination = self._context.plan.destination
        return session.label if session.project == destination.project else destination.session

    # comparing

    def _compare_images(self, session: SessionInfo) -> VerificationFailed | None:
        """Compare the sent images with the archived session."""
        if self._images is None:
            return None
        try:
            self._images.compare(session)
        except VerificationFailed as error:
            return error
        return None

    def _match(self, session: SessionInfo) -> SessionMatch:
        """Compare the session with the images, unless this run has already done so."""
        verification = self._context.report.verification
        if self._images is not None and self._images.compared:
            total = len(self._awaited.items)
            return SessionMatch(
                session=session, studies=tuple(sorted(self._awaited.studies)), total=total, verification=verification
            )
        return match_session(self._client, session, self._awaited.items)

    def _other_session(self, match: SessionMatch, differs: XnatctlError | None) -> XnatctlError:
        """The error for a session that does not hold the images on disk."""
        if differs is None:
            self._context.report.verification = replace(match.verification, ok=False)
        if self._images is not None:
            self._awaited.next(self._context.rerun)
        trusting = self._awaited.attach(trust=True)
        self._awaited.next(trusting)
        message = f"{match.describe()} Its resources ({self._awaited.files()}) were not attached."
        hint = "Name the session of these images, or upload them first."
        if trusting:
            hint = f"{hint} If this is the right session and anonymisation changed its UIDs, run: {trusting}"
        return Refused(message, hint=hint) if self._images is None else VerificationFailed(message, hint=hint)

    def _elsewhere(self, look: _SessionState) -> SessionInfo:
        """Find a session that is no longer in the prearchive nor in the archive under its label.

        Returns the session of that label when it is all there is, though it says that it holds another study. Raises
        NotArchived with where the images are.
        """
        self._awaited.refuse_elsewhere(self._rows)
        if look.session is not None:
            return look.session
        raise self._awaited.deleted()

    def _not_archived(self, look: _SessionState) -> NotArchived:
        context, destination = self._context, self._context.plan.destination
        if look.row is not None:
            ref = look.row.ref
            context.report.state, context.report.uri = PlaceState.PREARCHIVE, ref.path
            subject = destination.subject or look.row.subject
            self._awaited.next(archive_command(self._client.commands, ref, subject, destination.session))
        waited = f" after {human_duration(self._seconds)}" if self._seconds and look.waiting else ""
        later = self._awaited.attach()
        self._awaited.next(later)
        return NotArchived(
            f"Session {destination.session} of project {destination.project} is not in the archive{waited}: "
            f"{look.describe()}. Its resources ({self._awaited.files()}) were not attached.",
            hint=self._hint(waiting=look.waiting, later=later),
        )

    def _hint(self, *, waiting: bool, later: str) -> str:
        """What to run next; `later` attaches the resources, if a command can."""
        check = f"Check the label with: {looks(self._client, self._context.plan.destination.project)}"
        if later:
            attach = f"When it is archived, run: {later}"
            return attach if waiting else f"{check} or attach the files later with: {later}"
        again = "When it is archived, run the same command again."
        return again if waiting else f"{again} {check}"
