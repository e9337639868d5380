"""From the prearchive into the archive: the checks, the merge, the scan names (contract xnat-import 3.4)."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .state import DirectRow, Experiment, FileEntry, PrearchiveRow, Received, Resource, Scan, State, Subject

if TYPE_CHECKING:
    from .server import Sandbox

#: Modality -> data types of session and scan.
_TYPES = {
    "MR": "mr", "CT": "ct", "PT": "pet", "US": "us", "CR": "cr", "DX": "dx", "MG": "mg", "NM": "nm", "XA": "xa",
    "RF": "rf", "SR": "sr", "SEG": "seg", "ECG": "ecg", "RTSTRUCT": "rtImage", "RTDOSE": "rtImage", "RTPLAN": "rtImage",
}  # fmt: skip


class ArchiveRefused(Exception):
    """The archive step was refused: the status that SI would answer, and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def import_policy(overwrite: str | None) -> tuple[bool, bool]:
    """(override, merge) of an import's `overwrite`: `none` merges like `append`."""
    if overwrite is None:
        return False, False
    return overwrite.lower() in ("delete", "override"), True


def archive_uri(state: State, experiment: Experiment) -> str:
    """The archive URI with its labels."""
    subject = state.subjects[experiment.subject_id].label
    return f"/data/archive/projects/{experiment.project}/subjects/{subject}/experiments/{experiment.label}"


def clean(label: str) -> str:
    """What XNAT keeps of a label (1.6)."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", label)


def session_type(modalities: Iterable[str]) -> str:
    """The data type of a session: that of its commonest imaging modality."""
    known = Counter(modality for modality in modalities if modality in _TYPES)
    return f"xnat:{_TYPES[known.most_common(1)[0][0]]}SessionData" if known else "xnat:otherDicomSessionData"


def scan_type(modality: str) -> str:
    """The data type of a scan."""
    return f"xnat:{_TYPES[modality]}ScanData" if modality in _TYPES else "xnat:otherDicomScanData"


class Archiver:
    """Archives built rows."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state

    def archive(
        self,
        row: PrearchiveRow,
        *,
        login: str | None,
        merge: bool,
        override: bool,
        overwrite_files: bool,
        subject: str | None = None,
        label: str | None = None,
    ) -> Experiment:
        """Archive one row. Raises ArchiveRefused; the row is then CONFLICT or ERROR and its log says why."""
        with self._state.lock:
            if row not in self._state.prearchive:
                raise ArchiveRefused(404, "not found")
            if row.status.startswith("_ARCHIVING"):
                raise ArchiveRefused(423, "Duplicate archive attempt. Prearchive session already archiving.")
            row.status = "_ARCHIVING"
            files = dict(row.built or {})
        self._sandbox.switches.pause("archive_seconds")  # a real archiving takes its time; a test's switch
        try:
            with self._state.lock:
                return self._archive(row, files, login, merge, override, overwrite_files, subject, label)
        except ArchiveRefused as refusal:
            with self._state.lock:
                row.status = "CONFLICT" if refusal.status == 409 else "ERROR"
                row.logs.append((self._state.clock.now(), refusal.reason))
            raise

    def _archive(
        self,
        row: PrearchiveRow,
        files: dict[str, Received],
        login: str | None,
        merge: bool,
        override: bool,
        overwrite_files: bool,
        subject_name: str | None,
        label: str | None,
    ) -> Experiment:
        state = self._state
        if row.project is None:
            raise ArchiveRefused(400, "unable to identify destination project")
        name = clean(label or row.name)
        wanted = clean(subject_name or row.subject) or "unknown"
        subject = next((s for s in state.subjects_of(row.project) if s.label.lower() == wanted.lower()), None)
        subject = subject or state.find_subject(row.project, wanted)
        existing = state.find_experiment(row.project, name)
        replaces = override or overwrite_files
        if existing is not None:
            self._check_existing(existing, row, subject, merge=merge, override=override)
        if not override:
            self._check_files(row, files)
        if existing is not None:
            self._check_same(existing, files, replaces=replaces)
        if subject is None:
            subject = self._new_subject(row.project, wanted, login)
        if existing is None:
            existing = self._new_experiment(row.project, name, subject, row.tag, files, login)
        self._merge(existing, row, files)
        state.prearchive.remove(row)
        shutil.rmtree(row.directory, ignore_errors=True)
        self._sandbox.dirty = True
        return existing

    # checks

    def _check_existing(
        self, existing: Experiment, row: PrearchiveRow, subject: Subject | None, *, merge: bool, override: bool
    ) -> None:
        """Checks 4 to 6."""
        if not merge:
            raise ArchiveRefused(409, "Session already exists, retry with overwrite enabled")
        if subject is None or subject.id != existing.subject_id:
            raise ArchiveRefused(409, "Invalid modification of session subject via archive process.")
        if existing.uid and existing.uid != row.tag and not override:
            raise ArchiveRefused(
                409, f"Invalid modification of session UID via archive process: {existing.uid} Already Exists"
            )

    @staticmethod
    def _check_files(row: PrearchiveRow, files: dict[str, Received]) -> None:
        """Check 8: every file catalogued, no instance twice in one catalog."""
        on_disk = Counter(path.parts[-3] for path in row.directory.glob("SCANS/*/DICOM/*") if path.is_file())
        catalogued = Counter(file.scan for file in files.values())
        for scan, count in sorted(on_disk.items()):
            if count > catalogued[scan]:
                raise ArchiveRefused(
                    400, f"Scan {scan} has {count - catalogued[scan]} non-DICOM (or non-parsable DICOM) files"
                )
        twice = [
            uid for uid, count in Counter((f.scan, f.sop_instance_uid) for f in files.values()).items() if count > 1
        ]
        if twice:
            raise ArchiveRefused(400, f"Scan {twice[0][0]} has duplicate SOP Instance UIDs")

    @staticmethod
    def _check_same(existing: Experiment, files: dict[str, Received], *, replaces: bool) -> None:
        """Check 9, and the second half of check 7."""
        if replaces:
            return
        theirs = {entry.uid for scan in existing.scans.values() for r in scan.resources for entry in r.entries.values()}
        if theirs & {file.sop_instance_uid for file in files.values()}:
            raise ArchiveRefused(409, "Session already exists with the same resources.")
        series = {scan.uid: scan.id for scan in existing.scans.values()}
        for file in files.values():
            if series.get(file.series_instance_uid, file.scan) != file.scan:
                raise ArchiveRefused(409, f"Scan {file.scan} is known as {series[file.series_instance_uid]} already")
        for path, file in files.items():
            scan = existing.scans.get(file.scan)
            if scan is not None and scan.uid == file.series_instance_uid and (existing.directory / path).exists():
                raise ArchiveRefused(409, "Session already exists with matching files.")

    # making

    def _new_subject(self, project: str, label: str, login: str | None) -> Subject:
        state = self._state
        subject = Subject(
            id=state.new_subject_id(), label=label, project=project, inserted=state.clock.now(), inserted_by=login or ""
        )
        state.subjects[subject.id] = subject
        return subject

    def _new_experiment(
        self, project: str, label: str, subject: Subject, study: str, files: dict[str, Received], login: str | None
    ) -> Experiment:
        state = self._state
        kind = session_type(file.modality for file in files.values())
        first = next(iter(files.values()), None)
        date = first.study_date if first is not None else ""
        experiment = Experiment(
            id=state.new_experiment_id(),
            label=label,
            project=project,
            subject_id=subject.id,
            xsi_type=kind,
            directory=state.session_directory(project, label),
            uid=study,
            date=f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 else "",
            modality=Counter(file.modality for file in files.values()).most_common(1)[0][0] if files else "",
            inserted=state.clock.now(),
            inserted_by=login or "",
        )
        state.experiments[experiment.id] = experiment
        return experiment

    def _merge(self, experiment: Experiment, row: PrearchiveRow, files: dict[str, Received]) -> None:
        """Move every file, uncatalogued late ones too, and catalogue those that were built."""
        names = self._scan_names(experiment, files)
        resources = [resource for scan in experiment.scans.values() for resource in scan.resources]
        held = {entry.uid: (r, name) for r in resources for name, entry in r.entries.items() if entry.uid}
        for path in sorted(row.directory.glob("SCANS/*/DICOM/*")):
            relative = path.relative_to(row.directory).as_posix()
            file = files.get(relative)
            scan_name = names[file.series_instance_uid] if file is not None else path.parts[-3]
            target = experiment.directory / "SCANS" / scan_name / "DICOM" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if file is not None and file.sop_instance_uid in held:  # replace: the older file of this instance goes
                resource, name = held[file.sop_instance_uid]
                (resource.directory / name).unlink(missing_ok=True)
                resource.entries.pop(name, None)
            path.replace(target)
            if file is not None:
                held[file.sop_instance_uid] = (self.catalogue(experiment, scan_name, path.name, file), path.name)
        _count(experiment)

    def _scan_names(self, experiment: Experiment, files: dict[str, Received]) -> dict[str, str]:
        """Series UID -> scan; another series under a taken number becomes `{n}-{MODALITY}{k}` (check 7)."""
        names: dict[str, str] = {scan.uid: scan.id for scan in experiment.scans.values()}
        for file in files.values():
            if file.series_instance_uid in names:
                continue
            name, count = file.scan, 0
            while name in names.values():
                count += 1
                name = f"{file.scan}-{file.modality or 'OT'}{count}"
            names[file.series_instance_uid] = name
        return names

    def catalogue(self, experiment: Experiment, scan_name: str, file_name: str, file: Received) -> Resource:
        """Enter one file in the catalog of its scan, made when it is the first; returns its resource."""
        state = self._state
        scan = experiment.scans.get(scan_name)
        if scan is None:
            scan = Scan(
                id=scan_name,
                xsi_type=scan_type(file.modality),
                pk=state.next_number("scan"),
                uid=file.series_instance_uid,
                type=file.series_description or "unknown",
                series_description=file.series_description,
                modality=file.modality,
            )
            experiment.scans[scan_name] = scan
        resource = next((resource for resource in scan.resources if resource.label == "DICOM"), None)
        if resource is None:
            directory = experiment.directory / "SCANS" / scan_name / "DICOM"
            resource = Resource(
                pk=state.next_number("resource"), label="DICOM", directory=directory, format="DICOM", content="RAW"
            )
            scan.resources.append(resource)
        resource.version += 1
        resource.entries[file_name] = FileEntry(
            path=file_name,
            size=file.size,
            md5=file.md5 if state.site["checksums"] else "",
            uid=file.sop_instance_uid,
            instance_number=file.instance_number,
            format="DICOM",
            content="RAW",
        )
        scan.frames = len(resource.entries)
        return resource

    def archive_direct(self, row: DirectRow, login: str | None) -> Experiment:
        """End a direct archive: its files are in place already, they are catalogued now (5)."""
        with self._state.lock:
            label = clean(row.subject) or "unknown"
            subject = next((s for s in self._state.subjects_of(row.project) if s.label.lower() == label.lower()), None)
            subject = subject or self._new_subject(row.project, label, login)
            experiment = self._new_experiment(row.project, row.name, subject, row.tag, row.files, login)
            for path, file in row.files.items():
                if (row.directory / path).is_file():
                    self.catalogue(experiment, file.scan, path.rpartition("/")[2], file)
            _count(experiment)
            self._state.direct.remove(row)
            self._sandbox.dirty = True
            return experiment


def _count(experiment: Experiment) -> None:
    """The database's numbers of every scan resource."""
    for scan in experiment.scans.values():
        for resource in scan.resources:
            resource.count()
