"""The table of series: a row for each, named by its number, or by its UID where numbers do not tell series apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xnatctl.model.document import Column
from xnatctl.model.report import SeriesReport

_STUDY_COLUMN = Column(key="study", drop=4)
_SESSION_COLUMN = Column(key="session")
_UID_COLUMN = Column(key="series")
_ABOUT = (Column(key="series_description", title="Description", fit="cut", drop=1), Column(key="modality", drop=2))
_SUMS = (Column(key="files", numeric=True, count=True, drop=2), Column(key="size", numeric=True, size=True, drop=3))
STATE_COLUMN = Column(key="state", fit="wrap")
#: The title of what names a row, where all rows are series.
SERIES = "Series"
#: Shown as the series of files that could not be read.
UNREADABLE = "(not readable)"


@dataclass
class _Series:
    """Sums of one series."""

    study: str = ""
    files: int = 0
    size: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def row(self, uid: str, known: SeriesReport | None, prefix: str) -> dict[str, Any]:
        states = ", ".join(
            f"{count} {name}" if len(self.outcomes) > 1 else name for name, count in sorted(self.outcomes.items())
        )
        number = known.series_number if known is not None else ""
        return {
            "study": self.study,
            "series": uid or "(unknown)",
            "name": UNREADABLE if uid == UNREADABLE else f"{prefix}{number}" if number else "",
            "series_number": number,
            "series_description": known.series_description if known is not None else "",
            "modality": known.modality if known is not None else "",
            "files": self.files,
            "size": self.size if uid != UNREADABLE else None,  # the sizes of its files are not known
            "state": states,
        }


def series_names(known: Iterable[SeriesReport]) -> dict[str, str]:
    """What people call the series, by their UID: `2 (T1 MPRAGE, MR)`; without those whose number is not unique."""
    series = list(known)
    numbers = Counter(one.series_number for one in series)
    return {
        one.series_instance_uid: f"{one.series_number} ({about})" if about else one.series_number
        for one in series
        if one.series_number and numbers[one.series_number] == 1
        for about in [", ".join(filter(None, [one.series_description, one.modality]))]
    }


def series_rows(
    entries: Iterable[tuple[str, str, int, str]], known: Iterable[SeriesReport], *, prefix: str = ""
) -> list[dict[str, Any]]:
    """One row per series, grouped by study; entries are (study, series, bytes, state).

    `prefix` stands before the number of a series in its name.
    """
    by_uid = {(series.study_instance_uid, series.series_instance_uid): series for series in known}
    studies: dict[str, dict[str, _Series]] = {}
    for study, uid, size, state in entries:
        series = studies.setdefault(study, {}).setdefault(uid, _Series(study))
        series.files += 1
        series.size += size
        series.outcomes[state] += 1
    return [
        series.row(uid, by_uid.get((study, uid)), prefix)
        for study, group in studies.items()
        for uid, series in group.items()
    ]


def series_columns(
    rows: Sequence[Mapping[str, Any]], title: str = SERIES, *, state: Column = STATE_COLUMN
) -> tuple[Column, ...]:
    """The columns for rows of series and resources, which may have a session. `title` is that of what names a row.

    A narrow terminal drops the UID first, unless the numbers of series are missing or not unique.
    """
    of_sessions = any("session" in row for row in rows)
    studies = {row["study"] for row in rows} - {""}
    before = (_SESSION_COLUMN,) if of_sessions else (_STUDY_COLUMN,) if len(studies) > 1 else ()
    if not any(row["series_number"] for row in rows):
        about = _ABOUT if any(row["series_description"] or row["modality"] for row in rows) else ()
        return (*before, replace(_UID_COLUMN, title=title, drop=int(of_sessions)), *about, *_SUMS, state)
    unique = len({(row.get("session", ""), row["name"]) for row in rows if row["name"]}) == len(rows)
    uid = replace(_UID_COLUMN, title="UID", drop=5 if unique else 0, detail=unique and title != SERIES)
    number = Column(key="series_number", detail=True)
    return (*before, Column(key="name", title=title), *_ABOUT, *_SUMS, state, uid, number)
