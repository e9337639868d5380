"""Finds which instances a session already holds, and whether they are the same.

XNAT refuses a whole upload with `append` if one instance already exists (xnat-import 3.4, check 9). So existing
instances are found before sending and are not sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from xnatctl.delivery.judgement import Finding
from xnatctl.delivery.session.existing import ArchiveTarget
from xnatctl.delivery.session.resume import ResumeState
from xnatctl.delivery.session.settle import archive_command
from xnatctl.delivery.session.verify import Wanted, verify_archived
from xnatctl.errors import NotFound, Refused
from xnatctl.model.commands import Commands
from xnatctl.model.plan import Overwrite, UploadItem
from xnatctl.model.refs import PrearchiveRef
from xnatctl.model.report import LEVELS, Level
from xnatctl.model.words import counted
from xnatctl.xnat import listing, prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import SessionInfo
from xnatctl.xnat.prearchive import PrearchiveRow

#: Instances that an error names before "and N more".
_NAMED = 5

#: Findings of instances that the session does not show.
_NOT_SHOWN = frozenset({Finding.ABSENT, Finding.COUNTED, Finding.UNDECIDED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """The items that a session already holds.

    `equal` marks the items that the session holds without a contradiction; `levels` counts them by verification level.
    `differing` names the other items that it holds, with the reason.
    """

    equal: Sequence[int] = ()
    levels: Counter[Level] = field(default_factory=Counter)
    differing: Sequence[str] = ()

    @property
    def any(self) -> bool:
        """True if the session holds some of the items."""
        return bool(self.differing) or any(self.equal)

    @property
    def words(self) -> str:
        """How the equal items were compared, as text."""
        return ", ".join(f"{self.levels[level]} by {_BY[level]}" for level in LEVELS if self.levels[level])


_BY = {
    Level.NONE: "nothing",
    Level.COUNTED: "number",
    Level.UID: "SOP Instance UID",
    Level.SIZE: "SOP Instance UID and size",
    Level.CHECKSUM: "MD5",
}


def find_overlap(
    client: XnatClient, session_id: str, items: Sequence[UploadItem], is_ours: Callable[[UploadItem], bool]
) -> Overlap:
    """Compare the items with an archived session; reads files from disk whose stored size is equal.

    If the server's listings contradict each other, no item counts as held. Items that are `is_ours` were stored by this
    upload, so nothing contradicts them.
    """
    comparison = verify_archived(client, session_id, items, Wanted(was_there=True, checksum=True))
    reasons = {difference.path: difference.message for difference in comparison.verification.differences}
    equal, levels, differing = bytearray(len(items)), Counter[Level](), []
    for place, (item, number) in enumerate(zip(items, comparison.findings, strict=True)):
        finding = Finding(number)
        if finding in _NOT_SHOWN:
            continue
        if finding.suspicious and not is_ours(item):
            differing.append(f"{item.path} ({reasons.get(item.path, 'differs')})")
        else:
            equal[place] = 1
            levels[finding.level] += 1
    return Overlap(equal=equal, levels=levels, differing=differing)


def skip_existing(
    client: XnatClient,
    existing: SessionInfo,
    items: Sequence[UploadItem],
    resumed: ResumeState,
    is_ours: Callable[[UploadItem], bool],
) -> tuple[ResumeState, Sequence[int]]:
    """Mark the items that an existing session holds as proven and archived.

    Items that are `is_ours` are sent again in any case. Raises Refused if the session holds another item with different
    content.
    """
    numbers = [
        number
        for number, item in enumerate(items)
        if not (resumed.proven and resumed.proven[number]) and not is_ours(item)
    ]
    if not numbers:
        return resumed, ()
    overlap = find_overlap(client, existing.id, [items[number] for number in numbers], is_ours)
    where = f"Session {existing.label} ({existing.id})"
    if overlap.differing:
        more = len(overlap.differing) - _NAMED
        named = "; ".join(overlap.differing[:_NAMED]) + (f"; and {more:,} more" if more > 0 else "")
        raise Refused(
            f"{where} holds {counted(len(overlap.differing), 'instance')} with different content than on disk, and "
            f"--overwrite append replaces nothing: {named}.",
            hint="Use --overwrite delete to replace them with the files on disk, or move the files out of the "
            "directory.",
        )
    there = bytearray(len(items))
    proven, archived = (bytearray(marks or bytes(len(items))) for marks in (resumed.proven, resumed.archived))
    for number, mark in zip(numbers, overlap.equal, strict=True):
        if mark:
            there[number] = proven[number] = archived[number] = 1
    if not (count := sum(there)):
        return resumed, ()
    warning = (
        f"{where} held {count:,} of {counted(len(items), 'instance')} already, which were not sent; compared: "
        f"{overlap.words}."
    )
    return replace(resumed, proven=proven, archived=archived, warnings=(*resumed.warnings, warning)), there


def held_by_name(client: XnatClient, ref: PrearchiveRef, session_id: str, study: str) -> int:
    """The number of files of a prearchive session that an archived one holds under the same names.

    The prearchive shows no SOP Instance UIDs, but XNAT derives file names from them, preceded by the Study Instance UID
    unless the site configured other names (xnat-import 4.3). 0 if the server has not read the prearchive session.
    """
    try:
        waiting = prearchive.dicom_names(client, ref) or Counter()
    except NotFound:
        return 0
    names = {name for name in waiting if name.startswith(study)}
    if not names or not listing.scans(client, session_id):  # a server may answer 500 if there is nothing to list
        return 0
    return len(listing.dicom_file_names(client, session_id, names))


def in_the_way(
    commands: Commands, ref: PrearchiveRef, target: ArchiveTarget, existing: SessionInfo
) -> tuple[str, str, tuple[str, ...]]:
    """Message, hint and commands for a prearchive session that holds instances of the archived one."""
    replacing = archive_command(commands, ref, target.subject, target.session, Overwrite.DELETE)
    message = (
        f"The prearchive holds files of this study ({ref}), some of which session {existing.label} ({existing.id}) "
        "holds already: XNAT refuses to add any of them with --overwrite append."
    )
    hint = (
        "Before you run the same command again, delete the prearchive session with: "
        f"{commands.command('prearchive', 'delete', *ref.triple)} "
        f"or archive it and replace existing instances with: {replacing}"
    )
    return message, hint, (replacing,)


def refuse_waiting(
    client: XnatClient, existing: SessionInfo, target: ArchiveTarget, rows: Iterable[PrearchiveRow]
) -> None:
    """Raise Refused for prearchive sessions that could not be archived afterwards."""
    for row in rows:
        if held_by_name(client, row.ref, existing.id, target.study):
            message, hint, _ = in_the_way(client.commands, row.ref, target, existing)
            raise Refused(message, hint=hint)
