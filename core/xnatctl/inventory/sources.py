"""Opens the files of a plan, and detects files that changed since."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Self

from xnatctl.errors import SourceChanged
from xnatctl.inventory import archives
from xnatctl.inventory.fingerprints import FINGERPRINT, QUICK, Digest, digest_text, new_digest
from xnatctl.inventory.packed import holds_dicom
from xnatctl.inventory.recognition import is_dicom
from xnatctl.model.plan import FileStatus, Source, UploadItem
from xnatctl.operating_system.files import open_to_read, read_at, reason

if TYPE_CHECKING:
    from xnatctl.plugin.protocols import Reader

_BLOCK = 1 << 20


#: Receives the digest of an item's content.
Tell = Callable[[UploadItem, str], None]


def open_item(item: UploadItem) -> AbstractContextManager[Reader]:
    """The bytes of an item, exactly `item.size` of them.

    Size, modification time, device and inode are compared with the plan on opening and again on the last byte. Raises
    SourceChanged, also for a file that vanished or cannot be read any more.
    """
    source = item.source
    return _File(item, source) if source.container is None else _Member(item, source)


def open_digesting(
    item: UploadItem, tell: Tell, algorithm: str = "sha256", *, also: Tell | None = None
) -> AbstractContextManager[Reader]:
    """`open_item`; `tell` receives the digest when all of the item has been read, see `content_hash`.

    `also` receives the SHA-256 as well.

    If only the change time moved while the item was read, the item is read again and the digests are compared: a
    backup or chmod changes that time but not the content.
    """
    source = item.source
    kind = _File if source.container is None else _Member
    opened = kind(item, source, algorithm, lambda text: tell(item, digest_text(algorithm, text)))
    if also is not None:
        opened.digest_also(lambda text: also(item, text))
    return opened


def _check(item: UploadItem, descriptor: int, *, whole: bool) -> bytes:
    """Check the file against the plan; returns its packed status. `whole`: the item is all of the file.

    The change time may differ. Raises SourceChanged.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise SourceChanged(f"{item.path} is no longer a regular file.", path=item.path)
    stamp = FileStatus.pack(status)
    if (whole and status.st_size != item.size) or (
        stamp != item.stamp and not _is_same_file(FileStatus.unpack(stamp), item.status)
    ):
        raise _changed(item)
    return stamp


def _is_same_file(now: FileStatus, planned: FileStatus) -> bool:
    """Whether they differ by the change time at most; device and inode are compared where they are known."""
    same = now.mtime_ns == planned.mtime_ns and planned.device in (0, now.device)
    return same and planned.inode in (0, now.inode)


def _is_untouched(item: UploadItem, stamp: bytes) -> bool:
    """True if the change time is that of the plan."""
    return FileStatus.unpack(stamp).ctime_ns == item.status.ctime_ns


def _changed(item: UploadItem) -> SourceChanged:
    return SourceChanged(f"{item.path} has changed since the upload was planned.", path=item.path)


def _may_hide(item: UploadItem, descriptor: int) -> bool:
    """True for a file of a resource that is or may hold DICOM: the plan checked only its earlier content.

    The change time moves if somebody changes the content and restores the modification time.
    """
    head = read_at(descriptor, 512, 0)
    return is_dicom(lambda count, offset=0: head[offset : offset + count], item.size) or (
        archives.packer_at(item.file) is not None
    )


class _File:
    """A plain file, which is checked again after the last byte; then its digest is passed on."""

    __slots__ = (
        "_algorithm", "_descriptor", "_digest", "_item", "_left", "_second", "_source", "_stamp", "_tell",
        "_tell_second",
    )  # fmt: skip

    whole = True

    def __init__(
        self,
        item: UploadItem,
        source: Source,
        algorithm: str = "",
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._item = item
        self._source = source
        self._algorithm = algorithm
        self._digest: Digest | None = new_digest(algorithm) if algorithm else None
        self._tell = tell
        self._second: Digest | None = None
        self._tell_second: Callable[[str], None] | None = None
        self._left = item.size
        self._descriptor = -1

    def digest_also(self, tell: Callable[[str], None]) -> None:
        """Compute SHA-256 besides the other digest."""
        self._second, self._tell_second = new_digest("sha256"), tell

    def __enter__(self) -> Self:
        item = self._item
        try:
            self._descriptor = open_to_read(item.file)
        except FileNotFoundError as error:
            raise SourceChanged(f"{item.path} has vanished since the upload was planned.", path=item.path) from error
        except OSError as error:
            raise SourceChanged(f"{item.path} cannot be opened any more: {reason(error)}.", path=item.path) from error
        try:
            self._stamp = _check(item, self._descriptor, whole=self.whole)
            is_attached = self.whole and not item.sop_instance_uid
            if is_attached:
                self._refuse_hidden()
            self._begin()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def _refuse_hidden(self) -> None:
        """Raise SourceChanged if the content of an attached file may be DICOM now, and was not when it was planned."""
        item = self._item
        if not item.status.ctime_ns:  # not known on this system, so packed files are inspected again
            if archives.packer_at(item.file) is not None and holds_dicom(item.file):
                raise _changed(item)
        elif not _is_untouched(item, self._stamp) and _may_hide(item, self._descriptor):
            raise _changed(item)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        os.close(self._descriptor)

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        if wanted == 0:
            return b""
        data = self._take(wanted)
        self._left -= len(data)
        if self._digest is not None:
            self._digest.update(data)
        if self._second is not None:
            self._second.update(data)
        if self._left == 0:
            self._end()
        return data

    def _begin(self) -> None:
        """Prepare to read; the file is open and unchanged."""

    def _take(self, wanted: int) -> bytes:
        """Read at least one byte, at most `wanted`."""
        try:
            data = os.read(self._descriptor, wanted)
        except OSError as error:
            raise SourceChanged(f"{self._item.path} cannot be read: {reason(error)}.", path=self._item.path) from error
        if not data:
            raise SourceChanged(f"{self._item.path} shrank while it was being sent.", path=self._item.path)
        return data

    def _end(self) -> None:
        """Check the file again after the last byte."""
        stamp = _check(self._item, self._descriptor, whole=self.whole)
        if self._digest is None:
            return
        digest = self._digest.hexdigest()
        if stamp != self._stamp and not self._reads_again(digest):
            raise _changed(self._item)
        if self._tell is not None:
            self._tell(digest)
        if self._second is not None and self._tell_second is not None:
            self._tell_second(self._second.hexdigest())

    def _reads_again(self, digest: str) -> bool:
        """Read the item again; returns whether its content is the same."""
        again = new_digest(self._algorithm)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._begin()
        left = self._item.size
        while left:
            data = self._take(min(_BLOCK, left))
            again.update(data)
            left -= len(data)
        return again.hexdigest() == digest


class _Member(_File):
    """A member of an archive file."""

    __slots__ = ("_stream",)

    whole = False

    def _begin(self) -> None:
        try:
            self._stream = archives.open_member(self._descriptor, self._source, self._item.size)
        except (OSError, archives.Damaged) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> SourceChanged:
        return SourceChanged(f"{self._item.path} cannot be read from its archive: {error}.", path=self._item.path)

    def _take(self, wanted: int) -> bytes:
        try:
            data = self._stream(wanted)
        except (OSError, archives.Damaged) as error:
            raise self._unreadable(error) from error
        if not data:
            raise SourceChanged(f"{self._item.path} is shorter in its archive than planned.", path=self._item.path)
        return data


def same_content(one: UploadItem, other: UploadItem) -> bool:
    """True if two items have the same bytes."""
    if one.size != other.size:
        return False
    with open_item(one) as first, open_item(other) as second:
        return _blocks_equal(first, second, one.size)


def _blocks_equal(first: Reader, second: Reader, left: int) -> bool:
    while left:
        block = min(_BLOCK, left)
        if _exactly(first, block) != _exactly(second, block):
            return False
        left -= block
    return True


def _exactly(reader: Reader, size: int) -> bytes:
    pieces = []
    while size and (piece := reader.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def content_hash(item: UploadItem, algorithm: str = "sha256", size: int | None = None) -> str:
    """The digest of an item's bytes, or of the first `size` of them, as in `digest_text`. Raises SourceChanged."""
    digest = new_digest(algorithm)
    left = item.size if size is None else size
    with open_item(item) as reader:
        while left and (data := reader.read(min(left, _BLOCK))):
            digest.update(data)
            left -= len(data)
    return digest_text(algorithm, digest.hexdigest())


def has_content(item: UploadItem, known: str) -> bool:
    """True if the item's bytes have the digest that an earlier run recorded. Raises SourceChanged."""
    named, _, _ = known.rpartition(":")
    algorithm = named or ("sha256" if len(known) == 64 else "md5")
    if algorithm == QUICK and FINGERPRINT != QUICK:
        return False  # recorded with a library that is not installed here
    return content_hash(item, algorithm) == known
