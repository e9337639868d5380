"""Waiting until the session of a plan is in the archive: this one, not one of the same label from an earlier day."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xnatctl.delivery.course import Course
from xnatctl.delivery.settle import Clockwork, archive_command
from xnatctl.errors import NotArchived, NotFound, PermissionDenied, Refused
from xnatctl.model.events import EventKind
from xnatctl.model.plan import Payload, Stage
from xnatctl.model.report import PlaceState
from xnatctl.xnat import direct_archive, listing, prearchive, site
from xnatctl.xnat.listing import SessionInfo
from xnatctl.xnat.prearchive import PrearchiveRow


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """Where the session is at this moment. `session` is what the archive has; the others say that more is to come."""

    session: SessionInfo | None
    row: PrearchiveRow | None
    direct: str

    @property
    def archived(self) -> bool:
        return self.session is not None and self.row is None and not self.direct

    def describe(self) -> str:
        if self.row is not None:
            return f"it is {self.row.status} in the prearchive"
        return f"the server is still {self.direct} it" if self.direct else "the server does not know it"


class AwaitLeg:
    """One stage that waits. After `run` the course knows the session."""

    def __init__(self, course: Course, stage: Stage) -> None:
        self._course = course
        self._client = course.client
        self._stage = stage
        self._seconds = float(stage.options.get("seconds", 0))
        sent = (item.study_instance_uid for item in course.plan.items if item.study_instance_uid)
        self._study = next(sent, str(stage.options.get("study_instance_uid", "")))

    def run(self) -> None:
        """Look until the session is archived. Raises NotArchived when the time is over."""
        course = self._course
        self._check_project()
        polls = Clockwork(pause=course.pause, limit=self._seconds).polls()
        said = ""
        while not (look := self._look()).archived:
            if said != (said := look.describe()):
                message = f"waiting until the session is in the archive: {said}"
                course.tell(EventKind.SETTLING, message, state="waiting")
            if not polls():
                raise self._not_archived(look)
        assert look.session is not None
        self._check_subject(look.session)
        self._warn_about_study(look.session)
        course.session = look.session
        subject = look.session.subject_label or course.plan.destination.subject
        course.go_to(replace(course.plan.destination, subject=subject, session=self._label(look.session)))
        course.report.state = PlaceState.ARCHIVED
        course.report.uri = f"/data/experiments/{look.session.id}"

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
        try:
            rows = prearchive.find_rows(
                self._client, destination.project, label=destination.session, study_uid=self._study or None
            )
        except PermissionDenied:
            rows = []  # whoever may not look there can only be told by the archive
        direct = ""
        if self._study:
            state = direct_archive.get(self._client, destination.project, self._study, destination.session)
            direct = str(state.get("status") or "receiving").lower() if state is not None else ""
        # Last, so that a session that is archived between the looks is found.
        session = listing.find_session(self._client, destination.project, destination.session)
        return _Look(session=session, row=rows[0] if rows else None, direct=direct)

    def _label(self, session: SessionInfo) -> str:
        destination = self._course.plan.destination
        return session.label if session.project == destination.project else destination.session

    def _check_subject(self, session: SessionInfo) -> None:
        """Nothing is attached to a session of somebody else. Raises Refused."""
        wanted = self._course.plan.destination.subject
        known = (session.subject_label.lower(), session.subject_id.lower())
        if wanted and session.subject_label and wanted.lower() not in known:
            raise Refused(
                f"Session {session.label} ({session.id}) of project {session.project} belongs to subject "
                f"{session.subject_label}, not to {wanted}.",
                hint=f"Give -S {session.subject_label}, or name another session.",
            )

    def _warn_about_study(self, session: SessionInfo) -> None:
        if self._study and session.uid and session.uid != self._study:
            self._course.warn(
                f"Session {session.label} ({session.id}) holds study {session.uid}, the files on disk are of study "
                f"{self._study}: anonymisation may have changed it, or it is another session."
            )

    def _not_archived(self, look: _Look) -> NotArchived:
        course, destination = self._course, self._course.plan.destination
        if look.row is not None:
            ref = look.row.ref
            course.report.state, course.report.uri = PlaceState.PREARCHIVE, ref.path
            subject = destination.subject or look.row.subject
            command = archive_command(ref, subject, destination.session)
            if command not in course.report.next:
                course.report.next.append(command)
        waited = f" after {self._seconds:.0f} s" if self._seconds else ""
        files = sum(len(stage.items) for stage in course.plan.stages if stage.payload is Payload.RESOURCE)
        later = self._stage.options.get("later")
        return NotArchived(
            f"Session {destination.session} of project {destination.project} is not in the archive{waited}: "
            f"{look.describe()}. {files} files for its resources were not sent.",
            hint=f"When it is archived, run: {later}" if later else "When it is archived, run the same command again.",
        )
