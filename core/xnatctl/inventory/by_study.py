"""An inventory of several studies, study by study, made from an existing inventory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from xnatctl.inventory.notes import patient_warnings
from xnatctl.inventory.walk import Inventory, Study
from xnatctl.model.plan import Exclusion
from xnatctl.model.words import counted


class StudyInventory:
    """The studies of an inventory, the earliest first.

    The order is that of Study Date and Time, which do not change when files are moved. Studies without a date come
    last, in the order in which they were found.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.studies = sorted(inventory.studies, key=lambda study: inventory.begun.get(study.uid) or "~")
        self._by_uid = {study.uid: study for study in self.studies}
        self._owners = _owners(self.studies)
        self._all = frozenset(self._by_uid)

    def of_study(self, uid: str) -> Inventory | None:
        """The inventory of one study; None if there is no such study. See `owners` for files that cannot be sent."""
        if uid not in self._by_uid:
            return None
        found = self.inventory
        patients = {uid: found.patients.get(uid, set())}
        return replace(
            found,
            items=self._by_uid[uid].items,
            excluded=self._of(uid, found.excluded),
            unreadable=self._of(uid, found.unreadable),
            invalid=self._of(uid, found.invalid),
            warnings=patient_warnings(patients),
            notes=(),
            listing="",
            patients=patients,
        )

    def patients(self) -> dict[str, frozenset[str]]:
        """The hashed patients of each study, by its UID."""
        return {study.uid: frozenset(self.inventory.patients.get(study.uid, ())) for study in self.studies}

    @property
    def number_of_patients(self) -> int:
        """The number of patients in the studies."""
        return len(self._patients_in_order())

    def patient_notes(self) -> dict[str, str]:
        """The patients of each study, by its UID, as numbers; empty if there is only one patient."""
        numbers = {patient: number for number, patient in enumerate(self._patients_in_order(), 1)}
        if len(numbers) < 2:
            return {}
        return {
            uid: f"patient {', '.join(str(number) for number in sorted(numbers[patient] for patient in patients))}"
            for uid, patients in self.patients().items()
        }

    def table(self, notes: Mapping[str, str]) -> str:
        """A line for each study with its folders and its note; `notes` are by UID."""
        return "\n".join(_line(study, notes.get(study.uid)) for study in self.studies)

    def _patients_in_order(self) -> list[str]:
        """The hashed patients, in the order of the studies."""
        ids = self.patients()
        return list(dict.fromkeys(patient for study in self.studies for patient in sorted(ids[study.uid])))

    def owners(self, path: str) -> frozenset[str]:
        """The studies to which a file that is not an instance may belong, judged by its directory.

        They have instances in that directory or below it; if none has, the nearest directory above decides.
        """
        folder = os.path.dirname(path)
        while folder not in self._owners and (above := os.path.dirname(folder)) != folder:
            folder = above
        return self._owners.get(folder, self._all)

    def _of(self, uid: str, entries: tuple[Exclusion, ...]) -> tuple[Exclusion, ...]:
        return tuple(entry for entry in entries if uid in self.owners(entry.path))


def _line(study: Study, note: str | None) -> str:
    folders = ", ".join(study.folders[:3]) + (", ..." if len(study.folders) > 3 else "")
    return f"  {study.uid}: {counted(len(study.items), 'file')} in {folders}{f' ({note})' if note else ''}"


def _owners(studies: list[Study]) -> Mapping[str, frozenset[str]]:
    """For each directory, the studies with instances in it or below it."""
    found: dict[str, set[str]] = {}
    for study in studies:
        for name in study.folders:
            folder = "" if name == "." else name
            while study.uid not in (owners := found.setdefault(folder, set())):
                owners.add(study.uid)
                folder = os.path.dirname(folder)
    return {folder: frozenset(owners) for folder, owners in found.items()}
