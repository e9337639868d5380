"""The files of a resource: every regular file under its own name, and which of them are DICOM."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from xnatctl.inventory.absent import ICLOUD, fetch, pointer_command
from xnatctl.inventory.archives import packer_at
from xnatctl.inventory.elements import Read
from xnatctl.inventory.names import HIDDEN, why_hidden
from xnatctl.inventory.recognition import is_dicom
from xnatctl.inventory.tree import Collector, Walk, status_of
from xnatctl.model.plan import Exclusion, FileStatus, UploadItem
from xnatctl.operating_system.files import as_followed


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInventory:
    """The files below `root`, a directory or one file, sorted by path.

    An item's `name` is its path inside the resource. Its `path`, like all other paths here, begins with the prefix.
    `excluded` was skipped by a rule, `unreadable` could not be opened or read. `dicom` are the items that are DICOM by
    content (as a resource they would bypass the project's anonymisation), `packed` those that are archive files.
    `empty_directories` hold nothing, so nothing of them is sent. `notes` are about links, `listing` is the text of a
    `Listing` of all files.
    """

    root: str
    items: Sequence[UploadItem] = ()  # sorted by path
    excluded: tuple[Exclusion, ...] = ()
    unreadable: tuple[Exclusion, ...] = ()
    dicom: tuple[str, ...] = ()
    packed: tuple[UploadItem, ...] = ()
    empty_directories: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    listing: str = ""

    @property
    def bytes(self) -> int:
        """Size of all items."""
        return sum(item.size for item in self.items)


def scan_files(path: str, *, follow_symlinks: bool = False, hidden: bool = False, prefix: str = "") -> FileInventory:
    """The files of a directory, at any depth, or one file.

    Names are kept exactly, and empty files are included. Hidden files are skipped, except DICOM and `path` itself;
    with `hidden` only those of an operating system are skipped. Links out of the root are reported, or followed with
    `follow_symlinks`. `prefix` is prepended to the displayed paths: the path of the directory below the root of a
    larger upload. Raises NotFound, PermissionDenied.
    """
    path = as_followed(path)
    collector = _Files(f"{prefix}/" if prefix else "")
    collector.takes = HIDDEN if hidden else None
    if stat.S_ISDIR(status_of(path).st_mode):
        Walk(path, collector, follow=follow_symlinks).run()
    else:
        collector.takes_any = True
        collector.file(os.path.basename(path), os.path.abspath(path))
    return FileInventory(
        root=path,
        items=tuple(sorted(collector.items, key=lambda item: item.path)),
        excluded=tuple(collector.named(collector.left_out())),
        unreadable=tuple(collector.named(collector.unreadable)),
        dicom=tuple(sorted(collector.dicom)),
        packed=tuple(sorted(collector.packed, key=lambda item: item.path)),
        empty_directories=tuple(collector.prefixed(directory) for directory in collector.empty_directories()),
        notes=collector.link_notes(),
        listing=collector.listing.text(),
    )


#: Hidden files that macOS writes into folders; `--hidden` does not include them.
_OF_MACOS = (".DS_Store", "._")


class _Files(Collector):
    """Every regular file is an item, unless its name is hidden and it is not DICOM."""

    takes_any = False
    #: The kind of hidden file that is included.
    takes: str | None = None

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix
        self.items: list[UploadItem] = []
        self.dicom: list[str] = []
        self.packed: list[UploadItem] = []

    def take(self, path: str, full: str, status: os.stat_result, read: Read) -> None:
        shown = self._prefix + path
        dicom = is_dicom(read, status.st_size)
        head = b"" if dicom else read(512)
        hidden = None if self.takes_any or dicom else why_hidden(path)
        if hidden == self.takes and not os.path.basename(path).startswith(_OF_MACOS):
            hidden = None
        command = pointer_command(head, status.st_size, path)
        if command is not None and (hidden is None or command == ICLOUD):  # its name begins with a dot
            self.cannot_read(path, fetch(command, full))
            return
        if hidden is not None:
            self.exclude(path, hidden)
            return
        self.keep(path)
        item = UploadItem(
            path=shown,
            source=self.source(shown, full),
            size=status.st_size,
            stamp=FileStatus.pack(status),
            resource_name=path,
        )
        self.items.append(item)
        if dicom:
            self.dicom.append(shown)
        elif status.st_size and packer_at(full) is not None:
            self.packed.append(item)

    def prefixed(self, path: str) -> str:
        """The displayed path of a path below the root."""
        return (self._prefix + path).rstrip("/") if path != "." else self._prefix.rstrip("/") or "."

    def named(self, entries: list[Exclusion]) -> list[Exclusion]:
        """The same entries with displayed paths."""
        return [Exclusion(path=self.prefixed(entry.path), reason=entry.reason) for entry in entries]
