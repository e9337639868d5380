"""Gives the studies of a scan their labels, which makes them rows of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xnatctl.api import clean_label, counted
from xnatctl_campaign.renaming import Renaming
from xnatctl_campaign.row import Row
from xnatctl_campaign.scan import FoundStudy
from xnatctl_campaign.template import NoValue, Template

#: Rows that a message names before "and N more".
_NAMED = 5


@dataclass(kw_only=True)
class Labelled:
    """The rows, and what a person should know of their labels before planning."""

    rows: list[Row] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Where labels come from. Without a template the column stays empty, for a person to fill it in."""

    project: str = ""
    subject: Template | None = None
    session: Template | None = None
    renaming: Renaming | None = None

    @property
    def keywords(self) -> frozenset[str]:
        """The keywords that are read from headers."""
        return frozenset[str]().union(*(template.keywords for template in (self.subject, self.session) if template))

    def rows(self, found: Sequence[FoundStudy]) -> Labelled:
        """The rows, by path. Raises Refused for subjects that the table of `--map` does not have."""
        found = sorted(found, key=lambda study: (study.path, study.study_instance_uid))
        missing: list[str] = []
        labels = [(self._label("subject", study, missing), self._label("session", study, missing)) for study in found]
        if self.renaming is not None:
            self.renaming.check([subject for subject, _ in labels if subject])
            labels = [(self.renaming[subject] if subject else "", session) for subject, session in labels]
        rows = [
            Row(
                number=number,
                line=number + 1,
                path=study.path,
                project=self.project,
                subject=subject,
                session=session,
                study_instance_uid=study.study_instance_uid,
                kind=study.kind,
                files=study.files,
                bytes=study.bytes,
            )
            for number, (study, (subject, session)) in enumerate(zip(found, labels, strict=True), 1)
        ]
        warnings = [*_missing(missing), *_refused(rows), *_clashing(rows), *_repeated(rows)]
        return Labelled(rows=rows, warnings=warnings)

    def _label(self, column: str, study: FoundStudy, missing: list[str]) -> str:
        template: Template | None = getattr(self, column)
        if template is None:
            return ""
        for name in sorted(template.keywords | template.groups):
            if name in study.problems:
                missing.append(f"{study.path} has no {column}: {study.problems[name]}")
                return ""
        try:
            return template.render(study.values).strip()
        except NoValue as problem:
            missing.append(f"{study.path} has no {column}: {problem} in {study.file}")
            return ""


def _missing(missing: Sequence[str]) -> list[str]:
    lines = [f"{text}." for text in missing[:_NAMED]]
    if len(missing) > _NAMED:
        lines.append(f"{len(missing) - _NAMED:,} more labels could not be made and are empty.")
    return lines


def _refused(rows: Sequence[Row]) -> list[str]:
    odd = [row.number for row in rows if any(clean_label(label) != label for label in (row.subject, row.session))]
    if not odd:
        return []
    return [f"XNAT would change {_labels(len(odd))} of {_rows(odd)}; it keeps letters, digits, _ and -."]


def _labels(count: int) -> str:
    return "a label" if count == 1 else "labels"


def _clashing(rows: Sequence[Row]) -> list[str]:
    """Rows that would be one session."""
    by_label: dict[str, list[int]] = {}
    for row in rows:
        if row.session:
            by_label.setdefault(row.session.casefold(), []).append(row.number)
    clashing = sorted(number for numbers in by_label.values() if len(numbers) > 1 for number in numbers)
    return [f"{counted(len(clashing), 'row')} share a session label: {_rows(clashing)}."] if clashing else []


def _repeated(rows: Sequence[Row]) -> list[str]:
    """Studies that lie in several roots or archive files, which no one folder of the scan holds."""
    by_uid: dict[str, list[int]] = {}
    for row in rows:
        if row.study_instance_uid:
            by_uid.setdefault(row.study_instance_uid, []).append(row.number)
    several = [numbers for numbers in by_uid.values() if len(numbers) > 1]
    if not several:
        return []
    what = "1 study is" if len(several) == 1 else f"{len(several):,} studies are"
    way_out = "Name the folder above the roots as ROOT to make one row of it, or give an ignore_reason to a copy"
    return [f"{what} in several rows, first {_rows(several[0])}. {way_out}."]


def _rows(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    shown = ", ".join(map(str, numbers[:_NAMED]))
    return f"rows {shown}" + (f" and {len(numbers) - _NAMED:,} more" if len(numbers) > _NAMED else "")
