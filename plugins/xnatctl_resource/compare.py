"""Compares files of a resource with the server: by path, size, and MD5 if the site stores it (xnat-api 2.5).

The name does not show which upload wrote a file. Without `--overwrite` a file is replaced only if an interrupted
request of this upload left it: it is the beginning of ours. Other files are not changed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum

from xnatctl.api import Journal, JournalEntry, Outcome, ResourceRef, SourceChanged, UploadItem, content_hash, open_item
from xnatctl.api.xnat import ResourceInfo, XnatClient
from xnatctl_resource.rest import FileInfo, ResourceParent, begins_with

#: The digest of the server; it detects transfer errors, not attacks.
ALGORITHM = "md5"
_EMPTY = "d41d8cd98f00b204e9800998ecf8427e"

#: Outcomes after which what lies on the server under that name may be what we left there half way; what `failed` was
#: turned away. `planned` is what a run that ended early makes of any of them.
_UNFINISHED = frozenset({Outcome.PLANNED, Outcome.SENDING, Outcome.AMBIGUOUS, Outcome.MISSING})


#: Reads a file back: whether it holds the beginning of ours.
Begins = Callable[[UploadItem, FileInfo], bool]


class Match(StrEnum):
    """The result of comparing a file on disk with one on the server.

    `alike`: equal size, without a checksum. `half`: the beginning of the file, left by an interrupted request of ours.
    """

    ABSENT = "absent"
    SAME = "same"
    ALIKE = "alike"
    HALF = "half"
    SIZE = "size"
    CHECKSUM = "checksum"


class Comparer:
    """Compares the files of one resource."""

    def __init__(self, journal: Journal, resource: ResourceRef) -> None:
        self._journal = journal
        self._resource = resource
        self._read: dict[str, str] = {}
        self._beginnings: dict[str, tuple[int, str]] = {}

    def match(self, item: UploadItem, file: FileInfo | None) -> Match:
        """Compare one file; reads it if sizes are equal and its checksum is not known yet."""
        if file is None:
            return Match.ABSENT
        if file.size != item.size:
            return Match.SIZE
        if item.size == 0:
            return Match.SAME
        if not file.digest:
            return Match.ALIKE
        try:
            return Match.SAME if self.digest(item) == file.digest.lower() else Match.CHECKSUM
        except SourceChanged:
            return Match.CHECKSUM

    def judge(self, item: UploadItem, file: FileInfo | None, *, ours: bool, begins: Begins) -> Match:
        """Like `match`; reads a file back that we may have left (`ours`) if there is no checksum."""
        match = self.match(item, file)
        if file is None or not ours or match not in (Match.ALIKE, Match.SIZE) or file.size > item.size:
            return match
        try:
            beginning = self._beginning(item, file.size) == file.digest.lower() if file.digest else begins(item, file)
        except SourceChanged:
            return match
        if match is Match.ALIKE:
            return Match.SAME if beginning else Match.CHECKSUM
        return Match.HALF if beginning else match

    def _beginning(self, item: UploadItem, size: int) -> str:
        """MD5 in hex of the first bytes of an item. Raises SourceChanged."""
        known = self._beginnings.get(item.path)
        if known is None or known[0] != size:
            known = self._beginnings[item.path] = (size, content_hash(item, ALGORITHM, size))
        return known[1]

    def digest(self, item: UploadItem) -> str:
        """MD5 in hex, from this or an earlier run, or else read now. Raises SourceChanged."""
        if item.size == 0:
            return _EMPTY
        if (known := self._journal.digest_of(item)) is not None:
            return known
        before = self._before(item)
        if before is not None and before.digest is not None and before.describes(item):
            return before.digest
        if item.path not in self._read:
            self._read[item.path] = content_hash(item, ALGORITHM)
        return self._read[item.path]

    def delivered_before(self, item: UploadItem) -> bool:
        """True if an earlier run delivered the unchanged file."""
        before = self._before(item)
        if before is None or not before.outcome.delivered:
            return False
        if before.describes(item):
            return True
        try:
            return item.size == before.size and self.digest(item) == before.digest
        except SourceChanged:
            return False

    def left_before(self, item: UploadItem) -> bool:
        """True if an earlier run was interrupted while it sent the file."""
        before = self._before(item)
        return before is not None and before.attempts > 0 and before.outcome in _UNFINISHED

    def _before(self, item: UploadItem) -> JournalEntry | None:
        return next(self._journal.recorded((item,), self._resource))


def stored_begins(
    client: XnatClient, parent: ResourceParent, resource: ResourceInfo, item: UploadItem, file: FileInfo
) -> bool:
    """Read a stored file back: True if it holds the beginning of the item. Raises SourceChanged."""
    with ExitStack() as opened:
        return begins_with(client, parent, resource, file, lambda: opened.enter_context(open_item(item)).read)
