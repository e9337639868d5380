"""Files that appeared or changed below a path since its inventory: lists names, sizes and times again."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from xnatctl.inventory.absent import pointer_command
from xnatctl.inventory.archives import packer_at
from xnatctl.inventory.listing import Earlier, key_of, state_of
from xnatctl.inventory.names import hidden_part
from xnatctl.inventory.path_set import Walks, list_again
from xnatctl.inventory.recognition import is_dicom
from xnatctl.inventory.tree import Collector
from xnatctl.operating_system.files import open_to_read, read_at, real_path
from xnatctl.operating_system.files import status as status_at

_HEAD: Final = 512


@dataclass(frozen=True, slots=True)
class Changes:
    """New files, and files whose size or time changed: absolute paths by relative path."""

    appeared: dict[str, str]
    changed: dict[str, str]

    def that_matter(self, *, sent: Collection[str], everything: bool) -> tuple[list[str], list[str]]:
        """The new paths and the changed paths that affect an upload.

        Changed files of `sent` do. Other files do if they may be DICOM now; with `everything`, all new files without a
        hidden name do. A growing file that is not DICOM, such as a log, does not.
        """
        appeared = [
            path
            for path, full in self.appeared.items()
            if (everything and hidden_part(path) is None) or _may_be_dicom(path, full)
        ]
        return appeared, [path for path, full in self.changed.items() if path in sent or _may_be_dicom(path, full)]


def changes_since(listing: str, root: str, *, follow_symlinks: bool, sources: Sequence[str] = ()) -> Changes:
    """Compare a directory or a file with the text of an earlier `Listing`; opens no files.

    `sources` are the paths of an inventory of several paths, absolute and in its order; `root` is the directory that
    holds them. A file that vanished is not a change.
    """
    again = _Relisting(listing)
    places = [*list_again(root, sources)]
    apart = [real_path(path) for path, _, is_directory in places if not is_directory]
    walks = Walks(again, follow=follow_symlinks, apart=apart)
    for path, name, is_directory in places:
        if is_directory:
            walks.run(path, name)
        else:
            again.file(name, path)
    again.finish()
    return Changes(again.appeared, again.changed)


class _Relisting(Collector):
    """Compares the status of each file with the first listing."""

    def __init__(self, listing: str) -> None:
        super().__init__()
        self._known = Earlier(listing)
        self._late: list[tuple[str, str, int]] = []
        self.appeared: dict[str, str] = {}
        self.changed: dict[str, str] = {}

    def file(self, path: str, full: str) -> None:
        self.count_file()
        try:
            status = status_at(full)
        except OSError:
            return
        if not stat.S_ISREG(status.st_mode):
            return
        before = self._known.find(key_of(path))
        if before is None:
            self._late.append((path, full, state_of(status)))
        else:
            self._compare(path, full, before, state_of(status))

    def finish(self) -> None:
        """Compare the files that came in another order than in the first listing."""
        rest = self._known.rest() if self._late else {}
        for path, full, state in self._late:
            before = rest.get(key_of(path))
            if before is None:
                self.appeared[path] = full
            else:
                self._compare(path, full, before, state)

    def _compare(self, path: str, full: str, before: int, now: int) -> None:
        if before not in (0, now):
            self.changed[path] = full


def _may_be_dicom(path: str, full: str) -> bool:
    """True for DICOM, packed files, pointers, and an empty file that may be about to be written."""
    try:
        descriptor = open_to_read(full)
        try:
            status = os.fstat(descriptor)
            head = read_at(descriptor, _HEAD, 0) if stat.S_ISREG(status.st_mode) else b"-"
        finally:
            os.close(descriptor)
    except OSError:
        return True  # unknown
    if not head:
        return hidden_part(path) is None
    return (
        is_dicom(lambda count, offset=0: head[offset : offset + count], status.st_size)
        or pointer_command(head, status.st_size, path) is not None
        or packer_at(full) is not None
    )
