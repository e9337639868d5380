"""Two patients under one subject, and one patient under two subjects.

Patients are compared by hashes that exist in memory only. No value of a header is stored or shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xnatctl_campaign.codes import Code
from xnatctl_campaign.facts import Facts, rows_text
from xnatctl_campaign.finding import Finding

_Subject = tuple[str, str]


def check_patients(rows: Iterable[Facts], *, same_patient: bool) -> Iterator[Finding]:
    """Yield a finding for each row of a subject with several patients, and a warning for each patient of several.

    `same_patient`: several patients under one subject are a warning.
    """
    by_subject: dict[_Subject, list[Facts]] = {}
    by_patient: dict[tuple[str, str], list[Facts]] = {}
    for facts in rows:
        if not facts.patients:
            continue
        project = facts.project.casefold()
        by_subject.setdefault((project, facts.row.subject.casefold()), []).append(facts)
        for patient in facts.patients:
            by_patient.setdefault((project, patient), []).append(facts)
    for sharing in by_subject.values():
        yield from _mixed(sharing, blocks=not same_patient)
    for sharing in by_patient.values():
        yield from _twice(sharing)


def _mixed(sharing: list[Facts], *, blocks: bool) -> Iterator[Finding]:
    patients = {patient for facts in sharing for patient in facts.patients}
    if len(patients) < 2:
        return
    names = rows_text([facts.row.number for facts in sharing])
    for facts in sharing:
        yield facts.finding(
            Code.PATIENTS_MIXED,
            f"Subject {facts.row.subject} of project {facts.project} gets images of {len(patients):,} patients, by "
            f"patient ID or name: {names}.",
            hint="Correct the subjects. If all are one patient under several IDs or names, add --same-patient.",
            blocks=blocks,
        )


def _twice(sharing: list[Facts]) -> Iterator[Finding]:
    subjects = {facts.row.subject.casefold(): facts.row.subject for facts in sharing}
    if len(subjects) < 2:
        return
    labels = sorted(subjects.values())
    more = f" and {len(labels) - 3:,} more" if len(labels) > 3 else ""
    names = rows_text([facts.row.number for facts in sharing])
    for facts in sharing:
        yield facts.finding(
            Code.PATIENT_TWICE,
            f"One patient becomes several subjects of project {facts.project} ({', '.join(labels[:3])}{more}): "
            f"{names}.",
            hint="Check the subjects of these rows.",
            blocks=False,
        )
