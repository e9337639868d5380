"""Checks whether an archived session holds the images on disk, before resources are attached.

A label is not sufficient, because another study may have taken it. So study and instances are compared by UID.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xnatctl.api import Difference, UploadItem, Verification, counted
from xnatctl.api.xnat import SessionInfo, Wanted, XnatClient, verify_archived

#: Differences that mean that an instance is not in the session.
_ABSENT = frozenset({"missing", "remapped"})
#: Paths in a message before "and N more".
_NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionMatch:
    """How a session compares with the images on disk. `studies` are those of the images, `total` their number."""

    session: SessionInfo
    studies: tuple[str, ...]
    total: int
    verification: Verification

    @property
    def missing(self) -> int:
        """The number of images that the session does not hold."""
        differences = self.verification.differences
        absent = sum(difference.kind in _ABSENT for difference in differences)
        short = sum(max(0, (d.expected or 0) - (d.found or 0)) for d in differences if d.kind == "count")
        return min(self.total, absent + short)

    @property
    def contradicted(self) -> bool:
        """True if the server's listings contradict each other and prove nothing."""
        return any(difference.kind == "contradiction" for difference in self.verification.differences)

    @property
    def other_study(self) -> bool:
        """True when the session is of a study that is not on disk."""
        return bool(self.session.uid and self.studies) and self.session.uid not in self.studies

    @property
    def holds_all(self) -> bool:
        """True if every image on disk is in the session, also without images."""
        return not self.other_study and not self.contradicted and not self.missing

    @property
    def holds_some(self) -> bool:
        """True when the session is of the same study and holds at least one of the images."""
        return not self.other_study and not self.contradicted and (self.missing < self.total or not self.total)

    def describe(self) -> str:
        """A sentence about what the session lacks."""
        session = self.session
        name = f"Session {session.label} ({session.id}) of project {session.project}"
        if self.other_study:
            on_disk = f"study {self.studies[0]}" if len(self.studies) == 1 else f"{len(self.studies):,} other studies"
            return f"{name} holds study {session.uid}; the images on disk are of {on_disk}."
        if self.contradicted:
            contradiction = next(d.message for d in self.verification.differences if d.kind == "contradiction")
            return f"{name} cannot be compared with the images on disk: {contradiction}."
        held = self.total - self.missing
        paths = [d.path for d in self.verification.differences if d.kind in _ABSENT and d.path]
        more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
        named = f": missing are {', '.join(paths[:_NAMED])}{more}" if paths and held else ""
        return f"{name} holds {held or 'none'} of the {counted(self.total, 'image')} on disk{named}."


def match_session(client: XnatClient, session: SessionInfo, items: Sequence[UploadItem]) -> SessionMatch:
    """Compare a session with the images on disk, which may be of several studies: with those of its own study."""
    by_study: dict[str, list[UploadItem]] = {}
    for item in items:
        by_study.setdefault(item.study_instance_uid, []).append(item)
    studies = tuple(by_study)
    if not studies:
        return SessionMatch(session=session, studies=(), total=0, verification=Verification())
    if session.uid and session.uid not in studies:
        message = f"session {session.label} ({session.id}) holds study {session.uid}, which is not on disk"
        verification = Verification(ok=False, differences=[Difference(kind="study", message=message)])
        return SessionMatch(session=session, studies=studies, total=len(items), verification=verification)
    wanted = [session.uid] if session.uid else list(studies)
    matches = [
        SessionMatch(
            session=session,
            studies=studies,
            total=len(own),
            verification=verify_archived(client, session.id, own, Wanted(was_there=True)).verification,
        )
        for own in (by_study[study] for study in wanted)
    ]
    return min(matches, key=lambda match: match.missing)
