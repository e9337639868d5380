"""Reads stored files where an MD5 cannot decide, and compares what follows the header with the disk.

XNAT writes the header of each file anew and copies the rest (xnat-import 4.1a). So a different MD5 alone proves
nothing, but other bytes behind the header do. One instance of each series and transfer syntax stands for those that the
server changed alike; an instance whose MD5 is unlike that of its neighbours is read itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from xnatctl.delivery.judgement import Finding
from xnatctl.delivery.session.stored import Stored
from xnatctl.errors import NotFound, NotXnat, PermissionDenied, ServerError, SourceChanged
from xnatctl.inventory.sources import open_item
from xnatctl.model.plan import UploadItem
from xnatctl.xnat import listing
from xnatctl.xnat.client import XnatClient

#: Stored files that are read for their own sake in one comparison; each of them was sent twice.
_MOST = 100
_PIECE = 1 << 18
#: Findings that rest on a size alone.
_BY_SIZE = frozenset({Finding.EQUAL, Finding.ALIKE})


def compare_contents(
    client: XnatClient, session_id: str, stored: Stored, items: Sequence[UploadItem], findings: bytearray
) -> int:
    """Replace findings that rest on a size where the content behind the header differs; returns the files compared.

    The finding becomes ALTERED for a file that was read, and DOUBTED for those that it stands for.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    single: list[int] = []
    for place, item in enumerate(items):
        finding = Finding(findings[place])
        if finding in _BY_SIZE and item.tail:
            groups.setdefault((item.series_instance_uid, item.transfer_syntax_uid), []).append(place)
        elif finding is Finding.REMADE and item.tail and len(single) < _MOST:
            single.append(place)
    if not groups and not single:
        return 0
    names = listing.scan_names(listing.scans(client, session_id))
    compared = 0
    for places in [*groups.values(), *([place] for place in single)]:
        same = _same_content(client, session_id, stored, names.get, items[places[0]], stored.sizes[places[0]])
        if same is None:
            continue
        compared += 1
        if not same:
            for place in places:
                findings[place] = Finding.DOUBTED
            findings[places[0]] = Finding.ALTERED
    return compared


def _same_content(
    client: XnatClient,
    session_id: str,
    stored: Stored,
    name_of: Callable[[str], str | None],
    item: UploadItem,
    size: int,
) -> bool | None:
    """Whether a stored file ends with the tail of the file on disk; None if either cannot be read."""
    try:
        with open_item(item) as reader:
            ours = _Tail(item.size - item.tail)
            while data := reader.read(_PIECE):
                ours.feed(data)
    except SourceChanged:
        return None
    for path in _paths(client, session_id, stored, name_of, item):
        fed: list[_Tail] = []

        def into(fed: list[_Tail] = fed) -> _Tail:
            fed.append(_Tail(size - item.tail))
            return fed[-1]

        try:
            client.request("GET", path, limit=size + 1, timeout=client.timeout, into=into)
        except NotFound:
            continue
        except (PermissionDenied, NotXnat, ServerError):
            return None
        if fed and fed[-1].size == size:
            return fed[-1].digest == ours.digest
    return None


def _paths(
    client: XnatClient,
    session_id: str,
    stored: Stored,
    name_of: Callable[[str], str | None],
    item: UploadItem,
) -> Iterator[str]:
    """The paths under which the stored file of an instance may be found."""
    for scan in stored.scans[item.series_instance_uid]:
        name = name_of(scan.id)
        if name is not None:
            yield from listing.dicom_file_paths(client, session_id, name, item.sop_instance_uid)


class _Tail:
    """The digest of what follows the first `skip` bytes, and the number of all bytes."""

    def __init__(self, skip: int) -> None:
        self._skip = skip
        self._hash = hashlib.sha256()
        self.size = 0

    def feed(self, data: bytes) -> None:
        """The next piece."""
        self._hash.update(data[max(0, self._skip - self.size) :])
        self.size += len(data)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the tail."""
        return self._hash.digest()
