"""Finds studies below roots by the content of files, and names a folder that holds each.

A study is one row, also if it is spread over folders. Its folder is the largest one that holds this study alone, so
that damaged files beside it belong to its row. Where studies share folders, it is the smallest one that holds all of
the study. The row always names the StudyInstanceUID, which selects the study in a shared folder, and shows the plan
whether the folder still holds it. Archive files are searched as well; a study in one has the archive file as its path.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from xnatctl.api import Exclusion, NotFound, PermissionDenied, Refused, UploadItem, UsageError, XnatctlError
from xnatctl.api.commands import Inventory, StudyInventory, header_values, scan_path
from xnatctl_campaign.row import Kind
from xnatctl_campaign.template import PathPattern

#: Examples that are kept of each kind of skipped file.
_KEPT = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundStudy:
    """A study or an exam root, and the values for its labels.

    `file` is the file whose header was read. `problems` are the values that are missing, by name, with the reason.
    """

    path: str
    kind: Kind
    file: str
    study_instance_uid: str = ""
    files: int | None = None
    bytes: int | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Skipped:
    """What gave no row: `reasons` counts files that need none, `bad` are files that may belong to a study.

    `bad` holds the first few, `bad_count` is their number. `warnings` are about studies and links.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    bad: list[Exclusion] = field(default_factory=list)
    bad_count: int = 0
    warnings: list[str] = field(default_factory=list)

    def add(self, root: str, inventory: Inventory) -> None:
        """Count what an inventory excluded or could not read."""
        self.reasons.update(_kind_of(entry.reason) for entry in inventory.excluded if not _is_packed(entry, inventory))
        for entry in (*inventory.unreadable, *inventory.invalid):
            self.add_bad(os.path.join(root, entry.path) if os.path.isdir(root) else root, entry.reason)
        self.warnings += [f"{root}: {warning}" for warning in (*inventory.warnings, *inventory.notes)]
        if inventory.conflicts:
            first = inventory.conflicts[0]
            self.warnings.append(
                f"{root}: {first.first} and {first.second} have one SOP Instance UID and different content"
                + (f", and {len(inventory.conflicts) - 1:,} more pairs" if len(inventory.conflicts) > 1 else "")
                + ". campaign plan refuses their study."
            )

    def add_bad(self, path: str, reason: str) -> None:
        """Count a file that may belong to a study and cannot be read."""
        self.bad_count += 1
        if len(self.bad) < _KEPT:
            self.bad.append(Exclusion(path=path, reason=reason))


def _is_packed(entry: Exclusion, inventory: Inventory) -> bool:
    return entry.path in inventory.packed


def _kind_of(reason: str) -> str:
    """The reason without the name of another file: `duplicate of a.dcm` gives `duplicate`."""
    for word in (" of ", " to "):
        reason = reason.partition(word)[0]
    return reason


def separate_roots(roots: Iterable[str], warn: Callable[[str], None]) -> list[str]:
    """The roots as absolute paths, without those that lie in another one."""
    real = {os.path.realpath(root): os.path.abspath(root) for root in roots}
    kept = []
    for path, root in real.items():
        outer = next((each for each in real if path != each and path.startswith(os.path.join(each, ""))), None)
        if outer is None:
            kept.append(root)
        else:
            warn(f"{root} lies in {real[outer]}, so it is not scanned twice.")
    return kept


class Scanner:
    """Finds studies or exam roots. `keywords` are read from a file of each; `pattern` is searched in their paths."""

    def __init__(
        self,
        *,
        keywords: Collection[str] = (),
        pattern: PathPattern | None = None,
        follow_symlinks: bool = False,
        large_archive: bool = False,
    ) -> None:
        self._keywords = sorted(keywords)
        self._pattern = pattern
        self._options = {"follow_symlinks": follow_symlinks, "large_archive": large_archive}
        self.skipped = Skipped()

    def studies(self, root: str) -> Iterator[FoundStudy]:
        """The studies of a directory, a file or an archive file, and of archive files in a directory.

        Raises what `scan_path` raises for the root.
        """
        inventory = self._inventory(root)
        yield from self._studies_in(root, inventory)
        packed = [item.file for item in inventory.others if item.path in inventory.packed]
        del inventory
        for path in packed:
            yield from self._studies_of_archive(path)

    def exams(self, root: str) -> Iterator[FoundStudy]:
        """The folders directly below a root that hold DICOM. Raises NotFound, UsageError and PermissionDenied."""
        follow = self._options["follow_symlinks"]
        try:
            with os.scandir(root) as entries:
                named = [entry for entry in entries if not entry.name.startswith(".")]
        except FileNotFoundError:
            raise NotFound(f"No such file or directory: {root}") from None
        except NotADirectoryError:
            raise UsageError(f"{root} is not a directory, and each folder directly below ROOT is an exam.") from None
        except OSError as error:
            raise PermissionDenied(f"Cannot read {root}: {error.strerror}.") from error
        folders = sorted(entry.path for entry in named if entry.is_dir(follow_symlinks=follow))
        if len(folders) < len(named):
            self.skipped.reasons["not a folder directly below ROOT"] += len(named) - len(folders)
        for folder in folders:
            inventory = self._inventory(folder)
            if not inventory.items:
                self.skipped.reasons["folder without DICOM"] += 1
                continue
            uids = {item.study_instance_uid for item in inventory.items}
            if len(uids) > 1:
                self.skipped.warnings.append(
                    f"{folder} holds {len(uids):,} studies, and an exam holds one. campaign plan refuses it."
                )
            yield self._found(
                folder,
                inventory.items,
                inventory,
                kind=Kind.EXAM,
                study_instance_uid=uids.pop() if len(uids) == 1 else "",
            )

    def _inventory(self, path: str) -> Inventory:
        inventory = scan_path(path, **self._options)
        self.skipped.add(path, inventory)
        return inventory

    def _studies_of_archive(self, path: str) -> Iterator[FoundStudy]:
        try:
            inventory = scan_path(path, **self._options)
        except XnatctlError as error:
            self.skipped.add_bad(path, error.message)
            return
        if inventory.items:
            self.skipped.add(path, inventory)
            yield from self._studies_in(path, inventory)
        else:
            self.skipped.reasons["archive file without DICOM"] += 1

    def _studies_in(self, root: str, inventory: Inventory) -> Iterator[FoundStudy]:
        by_study = StudyInventory(inventory)
        shared = _above(inventory.packed)
        for study in by_study.studies:
            folder = root
            if inventory.kind == "directory":
                folder = _writable(root, _folder_of(study.uid, study.folders, by_study, shared))
            yield self._found(
                folder,
                study.items,
                inventory,
                kind=Kind.DICOM,
                study_instance_uid=study.uid,
                files=len(study.items),
                bytes=sum(item.size for item in study.items),
            )

    def _found(
        self,
        path: str,
        items: Collection[UploadItem],
        inventory: Inventory,
        *,
        kind: Kind,
        study_instance_uid: str,
        files: int | None = None,
        bytes: int | None = None,  # noqa: A002 - the name of the column
    ) -> FoundStudy:
        first = min(items, key=lambda item: item.path)
        values, problems = self._header(first)
        if self._pattern is not None:
            paths = (_full(inventory, item) for item in items)
            groups, more = _groups(self._pattern, paths)
            values, problems = {**values, **groups}, {**problems, **more}
        return FoundStudy(
            path=path,
            kind=kind,
            file=_full(inventory, first),
            study_instance_uid=study_instance_uid,
            files=files,
            bytes=bytes,
            values=values,
            problems=problems,
        )

    def _header(self, item: UploadItem) -> tuple[dict[str, str], dict[str, str]]:
        if not self._keywords:
            return {}, {}
        try:
            return header_values(item, self._keywords), {}
        except XnatctlError as error:  # unreadable, or it changed since it was found
            return {}, dict.fromkeys(self._keywords, error.message)


def _full(inventory: Inventory, item: UploadItem) -> str:
    """The path of an item, for patterns and messages; that of a member is below its archive file."""
    return inventory.root if inventory.kind == "file" else os.path.join(inventory.root, item.path)


def _above(paths: Iterable[str]) -> frozenset[str]:
    """The folders that hold paths, at any depth; the root is empty."""
    folders: set[str] = set()
    for path in paths:
        while path and (path := os.path.dirname(path)) not in folders:
            folders.add(path)
    return frozenset(folders)


def _folder_of(uid: str, folders: Collection[str], by_study: StudyInventory, shared: Collection[str]) -> str:
    """The folder of a study, below the root and empty for the root itself. `shared` are folders with archive files."""
    folder = "" if "." in folders else os.path.commonpath(folders)
    # `owners` are the studies in or below the folder above a path.
    while folder and by_study.owners(folder) == {uid} and os.path.dirname(folder) not in shared:
        folder = os.path.dirname(folder)
    return folder


def _writable(root: str, folder: str) -> str:
    """The folder, or the nearest one above whose name a manifest in UTF-8 can hold. Raises Refused."""
    while True:
        path = os.path.join(root, folder) if folder else root
        try:
            path.encode("utf-8")
        except UnicodeEncodeError:
            if not folder:
                raise Refused(
                    f"The name of {root!r} is not UTF-8, so a manifest cannot hold it.", hint="Rename the folder."
                ) from None
            folder = os.path.dirname(folder)
        else:
            return path


def _groups(pattern: PathPattern, paths: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The values of the groups that all paths share, and why others have none."""
    values: dict[str, str] = {}
    problems: dict[str, str] = {}
    for path in paths:
        found = pattern.values(path)
        if found is None:
            return {}, dict.fromkeys(pattern.groups, f"--path-pattern does not match {path}")
        for name, value in found.items():
            if values.setdefault(name, value) != value:
                problems[name] = f"the files give several values for {name}, in {path} another one than before"
    return values, problems
