"""Assigns a session label to each study: the requested label, then `_2`, `_3` and so on.

A study that has a label keeps it, even if PATH has got more studies since: the server lists which sessions hold which
study (xnat-api 2.2, 5.5), and the journals on this machine which uploads began. Only the other studies get numbers, in
order, and never the number of another study, so that two studies are never mixed in one session.
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
    """The labels E, E_2, E_3 ... by number; 1 is the requested label."""

    base: str

    def label(self, number: int) -> str:
        """The label of a number."""
        return self.base if number == 1 else f"{self.base}_{number}"

    def number(self, label: str) -> int | None:
        """The number of a label; None if it is not in the series."""
        if label == self.base:
            return 1
        match = re.fullmatch(r"_([1-9][0-9]{0,5})", label.removeprefix(self.base))
        number = int(match[1]) if match and label.startswith(self.base) else 0
        return number if number > 1 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """The session with a label. `study` is its UID, empty if not known; `words` describe it in a message."""

    study: str
    words: str


class LabelSource(Protocol):
    """Knows which studies hold labels of a series."""

    def numbers(self, study: str) -> set[int]:
        """The numbers of a study."""
        ...

    def holder(self, number: int) -> Holder | None:
        """The holder of a number."""
        ...


class OfflineLabels:
    """A source without a server."""

    def numbers(self, study: str) -> set[int]:
        return set()

    def holder(self, number: int) -> Holder | None:
        return None


class JournalLabels:
    """The studies that the journals on this machine sent to the sessions of a label series."""

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
        """The number that a study was last sent to; None if not known."""
        return self._numbers.get(study)

    def studies(self, number: int) -> set[str]:
        """The studies that were sent to a number."""
        return self._studies.get(number, set())


class OnServer:
    """The sessions of a label series in the archive, in the prearchive, and in direct archives."""

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
            return ()  # a user who may not list the prearchive may not send either, which preflight reports

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
        """Warnings about studies that are also in other sessions, which may have been renamed."""
        return [f"Study {study} is on the server as session {label}, too." for study, label, _ in self._elsewhere]

    def _sessions(self, study: str) -> list[SessionInfo]:
        return sessions_of_study(self._client, self._project, study)

    def refuse_misplaced(self, subject: str) -> None:
        """Raise Refused if a study exists only under another subject or label.

        The session was renamed or moved, or uploaded separately. Sending the study again would store it twice.
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
        if session is not None and not (number == 1 and not session.uid):  # number 1, as in a single upload
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
    shown: LabelSource,
    *,
    look_only: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """The label of each study by its UID, and warnings about skipped labels.

    Raises Refused if the requested label holds another study and none of these studies is in the series: as in an
    upload of one study, the label is probably wrong. `look_only`: nothing will be sent, so if the server knows none of
    the studies they are compared with its sessions in order (anonymisation may have changed the UIDs).
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
            warnings.append(f"Label {label_series.label(number)} is skipped: {holder.words}.")
        given[study] = number
    return {study: label_series.label(given[study]) for study in studies}, warnings


def _own(shown: set[int], remembered: int | None) -> int | None:
    """The number of a study according to the server, or to the journals if the server shows none or several.

    A site may change UIDs, so that the server does not show the study. Then the journals prevent that each run makes
    another session; preflight refuses a session that does not fit.
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
    """Pairs of study and label, in order of the number."""
    return sorted(labels.items(), key=lambda pair: label_series.number(pair[1]) or 0)
