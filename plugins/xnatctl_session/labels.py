"""Which session each of several studies becomes: the label that was named, and behind it `_2`, `_3` and so on.

A study that has its label keeps it, whatever was added to PATH since: the server says which sessions hold which study
(xnat-api 2.2, 5.5), the journals of this machine what was begun. Only the others get numbers, in order, and
never one under which another study lies: two studies are never mixed in one session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from xnatctl.api import PermissionDenied, Refused
from xnatctl.api.commands import Summary
from xnatctl.api.xnat import (
    PrearchiveRow,
    SessionInfo,
    XnatClient,
    find_session,
    get_direct_archive,
    list_prearchive_rows,
    sessions_of_study,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSeries:
    """The labels E, E_2, E_3 ... by their numbers; 1 is the label that was named."""

    base: str

    def label(self, number: int) -> str:
        """The label of a number."""
        return self.base if number == 1 else f"{self.base}_{number}"

    def number(self, label: str) -> int | None:
        """The number of a label, None for one that is not of the family."""
        if label == self.base:
            return 1
        match = re.fullmatch(r"_([1-9][0-9]{0,5})", label.removeprefix(self.base))
        number = int(match[1]) if match and label.startswith(self.base) else 0
        return number if number > 1 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who is under a label. `study` is a UID, empty when it is not known; `words` say it in a message."""

    study: str
    words: str


class Shown(Protocol):
    """What a server shows of a family."""

    def numbers(self, study: str) -> set[int]:
        """The numbers under which a study lies."""
        ...

    def holder(self, number: int) -> Holder | None:
        """Who is under a number."""
        ...


class OfflineLabels:
    """No server was asked."""

    def numbers(self, study: str) -> set[int]:
        return set()

    def holder(self, number: int) -> Holder | None:
        return None


class JournalLabels:
    """The studies that the journals of this machine sent to the sessions of a family."""

    def __init__(self, journals: Iterable[Summary], *, server: str, project: str, label_series: LabelSeries) -> None:
        self._numbers: dict[str, int] = {}
        self._studies: dict[int, set[str]] = {}
        for journal in sorted(journals, key=lambda journal: journal.updated):
            where = journal.destination
            number = label_series.number(where.session)
            here = (where.server, where.project.casefold()) == (server, project.casefold())
            if here and number is not None and journal.study and not journal.problem:
                self._numbers[journal.study] = number
                self._studies.setdefault(number, set()).add(journal.study)

    def number(self, study: str) -> int | None:
        """The number that a study was sent to last, as far as it is remembered."""
        return self._numbers.get(study)

    def studies(self, number: int) -> set[str]:
        """The studies that were sent to a number."""
        return self._studies.get(number, set())


class OnServer:
    """The sessions of a family in the archive, in the prearchive, and on their way straight into the archive."""

    def __init__(self, client: XnatClient, project: str, label_series: LabelSeries, remembered: JournalLabels) -> None:
        self._client = client
        self._project = project
        self._family = label_series
        self._remembered = remembered
        self._subjects: list[tuple[str, str, list[str]]] = []
        self._elsewhere: list[tuple[str, str, str]] = []
        self._at_home: set[str] = set()

    @cached_property
    def _rows(self) -> Sequence[PrearchiveRow]:
        try:
            return list_prearchive_rows(self._client, self._project, lambda row: bool(row.tag))
        except PermissionDenied:
            return ()  # whoever may not look there may not send there, as the look before sending will say

    def numbers(self, study: str) -> set[int]:
        found = [(s.label, s.subject_label, s.subject_id) for s in self._sessions(study)]
        found += [(row.name, row.subject, "") for row in self._rows if row.tag == study]
        numbers = set()
        for label, subject, subject_id in found:
            if (number := self._family.number(label)) is not None:
                numbers.add(number)
                self._at_home.add(study)
                self._subjects.append((study, label, [name for name in (subject, subject_id) if name]))
            else:
                self._elsewhere.append((study, label, subject))
        return numbers

    @property
    def warnings(self) -> list[str]:
        """What is to be said of studies that were looked for and lie elsewhere, too: perhaps somebody renamed it."""
        return [f"Study {study} is on the server as session {label}, too." for study, label, _ in self._elsewhere]

    def _sessions(self, study: str) -> list[SessionInfo]:
        return sessions_of_study(self._client, self._project, study)

    def refuse_misplaced(self, subject: str) -> None:
        """Raise Refused when a study that was looked for is there already under another subject or label only.

        Somebody renamed or moved it, or it was uploaded on its own: sending it once more would file it twice.
        """
        for study, label, owner in self._elsewhere:
            if study not in self._at_home:
                raise Refused(
                    f"Study {study} is on the server already, as session {label}"
                    + (f" of subject {owner}." if owner else "."),
                    hint="Move its files out of PATH. To compare or complete that session, upload the study on its "
                    f"own with {'-S ' + owner + ' ' if owner else ''}-E {label}.",
                )
        for study, label, names in self._subjects:
            if names and subject.casefold() not in {name.casefold() for name in names}:
                raise Refused(
                    f"Study {study} is on the server already: as session {label} of subject {names[0]}, not of "
                    f"{subject}.",
                    hint=f"Upload with -S {names[0]}, or choose another session label.",
                )

    def holder(self, number: int) -> Holder | None:
        label = self._family.label(number)
        session = find_session(self._client, self._project, label)
        if session is not None and not (number == 1 and not session.uid):  # which is its first, as in a single upload
            return _archived(session)
        for row in self._rows:
            if row.name == label:
                words = f"study {row.tag} waits there in the prearchive ({row.timestamp}, {row.status})"
                return Holder(study=row.tag, words=words)
        for study in sorted(self._remembered.studies(number)):
            if get_direct_archive(self._client, self._project, study, label) is not None:
                return Holder(study=study, words=f"study {study} is on its way there")
        return None


def _archived(session: SessionInfo) -> Holder:
    what = f"holds study {session.uid}" if session.uid else "does not say which study it holds"
    return Holder(study=session.uid, words=f"session {session.label} ({session.id}) {what}")


def assign(
    studies: Sequence[str],
    label_series: LabelSeries,
    remembered: JournalLabels,
    shown: Shown,
    *,
    look_only: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """The label of each study by its UID, and what is to be said of labels that were passed over.

    Raises Refused when the label that was named holds another study, and none of these studies is in the family: as
    in an upload of one study, it was probably not meant. `look_only`: nothing will be sent there, so where the server
    knows none of the studies they are held against what it has, in order (anonymisation may have given it other UIDs).
    """
    given: dict[str, int] = {}
    for study in studies:
        number = _own(shown.numbers(study), remembered.number(study))
        if number is not None and number not in given.values():
            given[study] = number
    known, warnings, number = bool(given), list[str](), 0
    for study in studies:
        if study in given:
            continue
        while True:
            number += 1
            if number in given.values():
                continue
            holder = None if look_only and not known else shown.holder(number)
            if holder is None:
                break
            if number == 1 and not known:
                raise _taken(label_series, holder)
            warnings.append(f"Label {label_series.label(number)} is passed over: {holder.words}.")
        given[study] = number
    return {study: label_series.label(given[study]) for study in studies}, warnings


def _own(shown: set[int], remembered: int | None) -> int | None:
    """Where a study is, says the server; where it says nothing, or several, where it was sent to.

    A site may give sessions other UIDs, so that nothing shows: then the study is not to become another session each
    time; and the look before sending refuses what does not fit.
    """
    if not shown or remembered in shown:
        return remembered
    return min(shown)


def _taken(label_series: LabelSeries, holder: Holder) -> Refused:
    return Refused(
        f"{label_series.base} is taken by another study, none of those on disk: {holder.words}.",
        hint="Choose another session label: one session takes one study.",
    )


def labels_in_order(labels: Mapping[str, str], label_series: LabelSeries) -> list[tuple[str, str]]:
    """Pairs of study and label, by number."""
    return sorted(labels.items(), key=lambda pair: label_series.number(pair[1]) or 0)
