"""What other users do to the data of a server during an upload, or between two.

Each is a method of `sandbox.others`, and an action of POST `/sandbox/act`. Files are named by their SOP Instance UID
and are found in the prearchive and in the archive. Listings keep the size and the MD5 that the catalog had, as on
a real server, unless `noticed` is set.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from xnatctl_sandbox.archive.archiver import Archiver
from xnatctl_sandbox.archive.checks import ArchiveRefused, Policy
from xnatctl_sandbox.archive.prearchive import Prearchive
from xnatctl_sandbox.receive.import_params import ImportParams
from xnatctl_sandbox.receive.importer import DicomImporter
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import DirectRow, Experiment, FileEntry, PrearchiveRow, Resource
from xnatctl_sandbox.world.state import State

_Found = TypeVar("_Found")
_POLICIES = {
    "append": Policy(merge=True, override=False, overwrite_files=False),
    "delete": Policy(merge=True, override=True, overwrite_files=True),
}


@dataclass
class _Copy:
    """One stored file: in a row, or as an entry of an archived resource."""

    path: Path
    row: PrearchiveRow | DirectRow | None = None
    name: str = ""
    resource: Resource | None = None
    entry: FileEntry | None = None


class OtherUsers:
    """What other users and broken disks do to one sandbox. Raises ValueError for what does not exist."""

    def __init__(self, state: State, importer: DicomImporter, prearchive: Prearchive, archiver: Archiver) -> None:
        self._state = state
        self._importer = importer
        self._prearchive = prearchive
        self._archiver = archiver

    def actions(self) -> dict[str, Callable[..., object]]:
        """The actions by name."""
        hidden = {"actions"}
        return {name: getattr(self, name) for name in dir(self) if not name.startswith("_") and name not in hidden}

    # single files

    def cut(self, uid: str, *, lose: int = 1, keep: int | None = None, noticed: bool = False) -> int:
        """Shorten the stored files of an instance, by `lose` bytes or to `keep`; returns how many there were."""

        def shorten(path: Path) -> None:
            data = path.read_bytes()
            path.write_bytes(data[: max(0, len(data) - lose) if keep is None else keep])

        return self._change(uid, shorten, noticed=noticed)

    def replace(self, uid: str, content: bytes | str, *, noticed: bool = False) -> int:
        """Replace the content of an instance by bytes, or by those of the file at a path."""
        data = content if isinstance(content, bytes) else Path(content).read_bytes()
        return self._change(uid, lambda path: path.write_bytes(data), noticed=noticed)

    def lose_file(self, uid: str) -> int:
        """Delete the file and keep its catalog entry."""
        return self._change(uid, lambda path: path.unlink(missing_ok=True))

    def drop_instance(self, uid: str) -> int:
        """Delete the file and its catalog entry."""
        with self._state.lock:
            copies = self._copies(uid)
            for copy in copies:
                copy.path.unlink(missing_ok=True)
                if copy.row is not None:
                    copy.row.files.pop(copy.name, None)
                    if isinstance(copy.row, PrearchiveRow) and copy.row.built is not None:
                        copy.row.built.pop(copy.name, None)
                elif copy.resource is not None:
                    copy.resource.entries.pop(copy.name, None)
                    copy.resource.version += 1
                    copy.resource.count()
            return len(copies)

    # catalogs and listings

    def forget(self, uid: str) -> int:
        """Delete the catalog entry and keep the file: a stale catalog."""
        return self._edit(uid, lambda resource, name: resource.entries.pop(name))

    def forget_uid(self, uid: str) -> int:
        """Remove the UID from the catalog entry."""

        def edit(resource: Resource, name: str) -> None:
            resource.entries[name].uid = None

        return self._edit(uid, edit)

    def unlist(self, uid: str) -> int:
        """Hide an instance from the file listing; the catalog keeps it."""
        return self._edit(uid, lambda resource, name: resource.unlisted.add(name))

    def uncatalogue(self, uid: str) -> int:
        """Hide an instance from the catalog document; the file listing keeps it."""
        return self._edit(uid, lambda resource, name: resource.uncatalogued.add(name))

    def misstate(self, uid: str, *, size: int | None = None, digest: str | None = None) -> int:
        """Write a wrong size or MD5 into the catalog entry."""

        def edit(resource: Resource, name: str) -> None:
            entry = resource.entries[name]
            entry.size = entry.size if size is None else size
            entry.md5 = entry.md5 if digest is None else digest

        return self._edit(uid, edit)

    # scans and sessions

    def drop_scan(self, scan: str, *, project: str = "DEMO", label: str = "") -> int:
        """Delete a scan from sessions in the prearchive and in the archive; without a label from all of them."""
        dropped = 0
        with self._state.lock:
            for row in self._rows(project, label):
                if any(file.scan == scan for file in row.files.values()):
                    row.files = {path: file for path, file in row.files.items() if file.scan != scan}
                    if row.built is not None:
                        row.built = {path: file for path, file in row.built.items() if file.scan != scan}
                    row.series = {series: folder for series, folder in row.series.items() if folder != scan}
                    shutil.rmtree(row.directory / "SCANS" / scan, ignore_errors=True)
                    dropped += 1
            for experiment in self._experiments(project, label):
                if (found := experiment.scans.pop(scan, None)) is not None:
                    _remove_files(found.resources)
                    dropped += 1
        return dropped

    def delete_session(self, label: str, *, project: str = "DEMO") -> int:
        """Delete an archived session with its files."""
        found = self._experiments(project, label)
        for experiment in found:
            self._state.remove_experiment(experiment)
        return len(found)

    def change_session(
        self, label: str, *, project: str = "DEMO", to_label: str | None = None, to_subject: str | None = None
    ) -> str:
        """Rename an archived session, or assign it to another subject; returns its ID."""
        with self._state.lock:
            experiment = _one(self._experiments(project, label), label)
            if to_subject is not None:
                subject = self._state.find_subject(project, to_subject)
                subject = subject or self._state.add_subject(project, to_subject)
                experiment.subject_id = subject.id
            if to_label is not None:
                directory = self._state.session_directory(project, to_label)
                experiment.directory.rename(directory)
                for resource in _resources(experiment):
                    resource.directory = directory / resource.directory.relative_to(experiment.directory)
                experiment.label, experiment.directory = to_label, directory
            return experiment.id

    # rows

    def delete_row(self, label: str, *, project: str | None = "DEMO") -> int:
        """Delete the rows of this label from the prearchive."""
        rows = self._rows(project, label)
        for row in rows:
            self._prearchive.delete(row)
        return len(rows)

    def move_row(self, label: str, to_project: str, *, project: str | None = "DEMO") -> str:
        """Move a row to another project; returns its URI."""
        row = _one(self._rows(project, label), label)
        self._prearchive.move(row, to_project)
        return row.uri

    def rename_row(self, label: str, to_label: str, *, project: str | None = "DEMO") -> str:
        """Give a row another label, and its folder with it; returns its URI."""
        with self._state.lock:
            row = _one(self._rows(project, label), label)
            directory = self._state.prearchive_directory(row.project, row.timestamp, to_label)
            row.directory.rename(directory)
            row.name, row.folder, row.directory = to_label, to_label, directory
            return row.uri

    def archive_row(
        self, label: str, *, project: str | None = "DEMO", to_label: str | None = None, to_subject: str | None = None,
        overwrite: str = "append", login: str = "admin",
    ) -> str:  # fmt: skip
        """Build and archive a row, perhaps under another label or subject; returns the session's ID."""
        row = _one(self._rows(project, label), label)
        return self._archive(row, to_label, to_subject, overwrite, login)

    # uploads

    def store(
        self, files: Sequence[str | bytes], *, label: str, subject: str = "s", project: str = "DEMO",
        place: str = "prearchive", overwrite: str = "append", join: bool | None = None, login: str = "admin",
    ) -> str:  # fmt: skip
        """Upload DICOM files (paths or contents) into the prearchive, or through it into the archive.

        They join a row of the same project, study and label as any upload does; by default not on the way to the
        archive, so that the uploads of others that are under way are left alone. Returns the row's URI, or the
        session's ID.
        """
        if place not in ("prearchive", "archive"):
            raise ValueError(f"Unknown place {place!r}: choose prearchive or archive.")
        apart = place == "archive" if join is None else not join
        own: list[PrearchiveRow] = []
        params = ImportParams(
            project=project, subject=subject, label=label, rename=True, prevent_auto_commit=True, login=login,
            own_rows=own if apart else None,
        )  # fmt: skip
        uri = None
        for file in files:
            data = file if isinstance(file, bytes) else Path(file).read_bytes()
            try:
                uri = self._importer.store("upload.dcm", io.BytesIO(data), params) or uri
            except StatusError as error:
                raise ValueError(error.description) from None
        row = own[0] if own else self._prearchive.find_uri(uri or "")
        if row is None:
            raise ValueError("The sandbox stored none of these files.")
        return row.uri if place == "prearchive" else self._archive(row, None, None, overwrite, login)

    # parts

    def _archive(self, row: PrearchiveRow, label: str | None, subject: str | None, overwrite: str, login: str) -> str:
        if overwrite not in _POLICIES:
            raise ValueError(f"Unknown overwrite {overwrite!r}: choose {' or '.join(_POLICIES)}.")
        if not self._prearchive.build(row):
            raise ValueError(f"The row {row.name} is locked or still receives files.")
        try:
            experiment = self._archiver.archive(row, _POLICIES[overwrite], login=login, subject=subject, label=label)
        except ArchiveRefused as refusal:
            raise ValueError(f"The archive refuses {row.name}: {refusal.reason}") from None
        return experiment.id

    def _rows(self, project: str | None, label: str) -> list[PrearchiveRow]:
        with self._state.lock:
            return [row for row in self._state.prearchive if row.project == project and label in ("", row.name)]

    def _experiments(self, project: str, label: str) -> list[Experiment]:
        with self._state.lock:
            return [e for e in self._state.experiments_of(project) if label in ("", e.label)]

    def _copies(self, uid: str) -> list[_Copy]:
        """Every stored file of an instance. Raises ValueError when there is none."""
        found: list[_Copy] = []
        rows: list[PrearchiveRow | DirectRow] = [*self._state.prearchive, *self._state.direct]
        for row in rows:
            found += [
                _Copy(row.directory / name, row=row, name=name)
                for name, file in row.files.items()
                if file.sop_instance_uid == uid
            ]
        for experiment in self._state.experiments.values():
            for resource in _resources(experiment):
                found += [
                    _Copy(resource.directory / name, resource=resource, name=name, entry=entry)
                    for name, entry in resource.entries.items()
                    if entry.uid == uid
                ]
        if not found:
            raise ValueError(f"No stored file has the SOP Instance UID {uid}.")
        return found

    def _change(self, uid: str, change: Callable[[Path], object], *, noticed: bool = False) -> int:
        with self._state.lock:
            copies = self._copies(uid)
            for copy in copies:
                change(copy.path)
                if noticed:
                    self._notice(copy)
            return len(copies)

    def _notice(self, copy: _Copy) -> None:
        """Update the listed size and MD5, as a refresh of the catalog does."""
        data = copy.path.read_bytes()
        size, md5 = len(data), hashlib.md5(data, usedforsecurity=False).hexdigest()
        if copy.entry is not None and copy.resource is not None:
            copy.entry.size, copy.entry.md5 = size, md5 if self._state.site["checksums"] else ""
            copy.resource.version += 1
            copy.resource.count()
        elif copy.row is not None:
            file = replace(copy.row.files[copy.name], size=size, md5=md5)
            copy.row.files[copy.name] = file
            if isinstance(copy.row, PrearchiveRow) and copy.row.built is not None and copy.name in copy.row.built:
                copy.row.built[copy.name] = file

    def _edit(self, uid: str, edit: Callable[[Resource, str], object]) -> int:
        """Change the catalog of each archived copy."""
        with self._state.lock:
            copies = [copy for copy in self._copies(uid) if copy.resource is not None]
            for copy in copies:
                assert copy.resource is not None
                edit(copy.resource, copy.name)
                copy.resource.version += 1
            return len(copies)


def _one(found: Sequence[_Found], label: str) -> _Found:
    if len(found) != 1:
        raise ValueError(f"Found {len(found)} sessions {label}, expected one.")
    return found[0]


def _resources(experiment: Experiment) -> Iterator[Resource]:
    yield from experiment.resources
    for scan in experiment.scans.values():
        yield from scan.resources


def _remove_files(resources: list[Resource]) -> None:
    for resource in resources:
        for name in resource.entries:
            (resource.directory / name).unlink(missing_ok=True)
