"""Archiving: checks, merging, scan names, catalogs (xnat-import 3.4, 5)."""

from __future__ import annotations

import shutil
from collections import Counter

from xnatctl_sandbox.archive.checks import (
    ArchiveRefused,
    Destination,
    Policy,
    clean,
    destination,
    problems,
    scan_type,
    session_type,
    study_of,
)
from xnatctl_sandbox.receive import stored_file
from xnatctl_sandbox.receive.dicom_elements import Unreadable
from xnatctl_sandbox.world.concurrency import Concurrency
from xnatctl_sandbox.world.records import (
    AUTO_ARCHIVE,
    DirectRow,
    Experiment,
    FileEntry,
    PrearchiveRow,
    Received,
    Resource,
    Scan,
    Subject,
)
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.switches import Switches


def import_policy(overwrite: str | None, *, files: str = "", merge: bool = False) -> Policy:
    """The policy of an import's `overwrite`: `none` merges like `append`."""
    override = overwrite is not None and overwrite.lower() in ("delete", "override")
    return Policy(merge=merge or overwrite is not None, override=override, overwrite_files=files.lower() == "true")


def archive_uri(state: State, experiment: Experiment) -> str:
    """The archive URI with its labels."""
    subject = state.subjects[experiment.subject_id].label
    return f"/data/archive/projects/{experiment.project}/subjects/{subject}/experiments/{experiment.label}"


class Archiver:
    """Moves sessions from the prearchive into the archive."""

    def __init__(self, state: State, switches: Switches, concurrency: Concurrency) -> None:
        self._state = state
        self._switches = switches
        self._concurrency = concurrency
        self._targets: set[tuple[str | None, str]] = set()  # what is being archived into

    def archive(
        self, row: PrearchiveRow, policy: Policy, *, login: str | None, subject: str | None = None,
        label: str | None = None,
    ) -> Experiment:  # fmt: skip
        """Archive one row. Raises ArchiveRefused; the row is then CONFLICT or ERROR and its log says why."""
        state = self._state
        with state.lock:
            if row not in state.prearchive:
                raise ArchiveRefused(404, "not found")
            if row.status.startswith("_ARCHIVING"):
                raise ArchiveRefused(423, "Duplicate archive attempt. Prearchive session already archiving.")
            target = (row.project, clean(label or row.name))
            if target in self._targets:
                raise ArchiveRefused(423, "Duplicate archive attempt.  Destination session in use.")
            self._targets.add(target)
            row.status = "_ARCHIVING"
            files = dict(row.built or {})
        try:
            with self._concurrency.archives(row):
                self._switches.pause("archive_seconds")  # a real archiving takes its time; a test's switch
                with state.lock:
                    return self._archive(row, files, policy, destination(state, row, subject, label), login)
        except ArchiveRefused as refusal:
            with state.lock:
                row.status = "CONFLICT" if refusal.status == 409 else "ERROR"
                row.logs.append((state.clock.now(), refusal.reason))
            raise
        finally:
            with state.lock:
                self._targets.discard(target)

    def _archive(
        self, row: PrearchiveRow, files: dict[str, Received], policy: Policy, where: Destination, login: str | None
    ) -> Experiment:
        state = self._state
        for refusal in problems(state, row, files, where, policy):
            raise refusal
        files = self._scripted(where.project, row, files)
        subject = where.subject or state.add_subject(where.project, where.subject_label, login)
        experiment = where.existing
        if experiment is None:
            experiment = self._new_experiment(where.project, where.label, subject, study_of(row, files), files, login)
        self._merge(experiment, row, files)
        state.prearchive.remove(row)
        shutil.rmtree(row.directory, ignore_errors=True)
        self._state.dirty = True
        return experiment

    def validate(self, row: PrearchiveRow, *, subject: str | None, label: str | None) -> list[ArchiveRefused]:
        """The reasons to refuse a row, without archiving it."""
        with self._state.lock:
            try:
                where = destination(self._state, row, subject, label)
            except ArchiveRefused as refusal:
                return [refusal]
            policy = Policy(merge=True, override=False, overwrite_files=False)
            return list(problems(self._state, row, dict(row.built or {}), where, policy))

    # making

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
        """Move all files, and catalogue those that were built; late files stay uncatalogued."""
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

    def _scripted(
        self, project: str, row: PrearchiveRow | DirectRow, files: dict[str, Received]
    ) -> dict[str, Received]:
        """The files after the project's script (xnat-import 4.1a). Raises ArchiveRefused."""
        script = self._switches.project_scripts.get(project)
        if not script or row.prevent_anon:
            return files
        try:
            return {path: stored_file.anonymize(row.directory / path, script, file) for path, file in files.items()}
        except Unreadable as error:
            raise ArchiveRefused(400, f"Unable to anonymize: {error}") from None

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
        """Enter a file in the catalog of its scan, and create the scan when it is the first; returns the resource."""
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

    def archive_direct(self, row: DirectRow, login: str | None) -> None:
        """Finish a direct archive: its files are in place, and now enter catalogs (5).

        A failure, or a session that has appeared meanwhile, moves them to the prearchive instead.
        """
        with self._state.lock:
            if self._switches.direct_archive_fails or self._state.find_experiment(row.project, row.name):
                self._to_prearchive(row)
                return
            files = {path: file for path, file in row.files.items() if (row.directory / path).is_file()}
            try:
                files = self._scripted(row.project, row, files)
            except ArchiveRefused:
                self._to_prearchive(row)
                return
            label = clean(row.subject) or "unknown"
            subject = next((s for s in self._state.subjects_of(row.project) if s.label.lower() == label.lower()), None)
            subject = subject or self._state.add_subject(row.project, label, login)
            study = next((file.study_instance_uid for file in files.values()), row.tag)
            experiment = self._new_experiment(row.project, row.name, subject, study, files, login)
            for path, file in files.items():
                self.catalogue(experiment, file.scan, path.rpartition("/")[2], file)
            _count(experiment)
            self._state.direct.remove(row)
            self._state.dirty = True

    def _to_prearchive(self, direct: DirectRow) -> None:
        """Move this session's files; what else lies in the folder belongs to a session that was archived meanwhile."""
        state = self._state
        timestamp = f"{state.clock.folder_timestamp()}_DA"
        row = PrearchiveRow(
            project=direct.project, timestamp=timestamp, folder=direct.name, name=direct.name, tag=direct.tag,
            directory=state.prearchive_directory(direct.project, timestamp, direct.name), subject=direct.subject,
            status="ERROR", lastmod=state.clock.now(), uploaded=direct.uploaded, source=direct.source,
            autoarchive=AUTO_ARCHIVE, prevent_anon=direct.prevent_anon, files=direct.files, series=direct.series,
        )  # fmt: skip
        row.directory.mkdir(parents=True, exist_ok=True)
        for path in direct.files:
            if (direct.directory / path).is_file():
                (row.directory / path).parent.mkdir(parents=True, exist_ok=True)
                (direct.directory / path).rename(row.directory / path)
        if self._state.find_experiment(direct.project, direct.name) is None:
            shutil.rmtree(direct.directory, ignore_errors=True)
        row.logs.append((state.clock.now(), "Attempt to direct-archive failed"))
        state.prearchive.append(row)
        state.direct.remove(direct)
        self._state.dirty = True


def _count(experiment: Experiment) -> None:
    """The database's numbers of every scan resource."""
    for scan in experiment.scans.values():
        for resource in scan.resources:
            resource.count()
