"""Reads values of a DICOM header by their keywords."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xnatctl.errors import Refused
from xnatctl.inventory.character_sets import decoded
from xnatctl.inventory.deflated import Inflated
from xnatctl.inventory.elements import Broken, Cut, Elements, Odd, Read
from xnatctl.inventory.forward import Forward
from xnatctl.inventory.keywords import KEYWORDS, check_keywords
from xnatctl.inventory.part10 import DEFLATED, FIRST, encoding_of
from xnatctl.inventory.recognition import is_plausible
from xnatctl.inventory.sources import open_item
from xnatctl.inventory.values import text
from xnatctl.model.plan import UploadItem

#: Bytes at the beginning of a file in which values are looked for. Pixel Data and frames come after all of them.
_READ = 8 * 2**20
_CHARACTER_SET, _TRANSFER_SYNTAX = 0x00080005, 0x00020010


def header_values(item: UploadItem, keywords: Iterable[str]) -> dict[str, str]:
    """The values of DICOM keywords in the header of an item, a member of an archive file included.

    Text is decoded by Specific Character Set and has no padding. Several values are separated by backslashes, a
    person's name has carets, and dates are YYYYMMDD, all as in DICOM. A value that is missing is empty. Raises
    UsageError for a keyword that is not known, Refused for a file that cannot be read, SourceChanged for one that
    changed since the inventory.
    """
    wanted = list(keywords)
    check_keywords(wanted)
    with open_item(item) as reader:
        try:
            return read_values(Forward(reader.read), min(item.size, _READ), wanted)
        except Odd as odd:
            raise Refused(
                f"The values in the header of {item.path} cannot be read: {odd}.",
                hint="Write the values of this file into the manifest, or repair its header.",
            ) from None


def read_values(read: Read, size: int, keywords: Collection[str]) -> dict[str, str]:
    """The values of known keywords in the first `size` bytes of a file, as `header_values` has them. Raises Odd."""
    found = _elements(read, size, frozenset((_CHARACTER_SET, *(KEYWORDS[keyword] for keyword in keywords))))
    declared = found.get(_CHARACTER_SET, b"").decode("ascii", "replace")
    return {keyword: _value(found.get(KEYWORDS[keyword], b""), declared) for keyword in keywords}


def _value(value: bytes, declared: str) -> str:
    return "\\".join(part.strip(" \0") for part in decoded(value, declared).split("\\"))


def _elements(read: Read, size: int, tags: Collection[int]) -> dict[int, bytes]:
    """The values of tags in a file that was read before, when it was whole. Raises Odd."""
    head = read(min(FIRST, size))
    start = 132 if head[128:132] == b"DICM" else 0
    if not start and not is_plausible(head):
        raise Odd("it is not DICOM")
    found: dict[int, bytes] = {}
    last = max(tags)
    try:
        if head[start : start + 2] == b"\x02\x00":
            meta = Elements(read, size, data=head)
            start = meta.follow(start, found, wanted=(_TRANSFER_SYNTAX,), last=_TRANSFER_SYNTAX, group=2)
        syntax = text(found.get(_TRANSFER_SYNTAX, b""))
        if syntax == DEFLATED:
            inflated = Inflated(read, start, size)
            reader, start = Elements(inflated.read, _READ), 0
        else:
            order, implicit = encoding_of(read(8, start), syntax)
            reader = Elements(read, size, order=order, implicit=implicit, data=head)
        _follow(reader, start, found, tags, last)
    except (Cut, Broken):
        pass  # the end of what is read
    return found


def _follow(reader: Elements, start: int, found: dict[int, bytes], tags: Collection[int], last: int) -> None:
    """Follow a data set. Raises Odd if it cannot be followed to the last tag."""
    try:
        reader.follow(start, found, wanted=tags, last=last)
    except Odd:
        if reader.reached <= last:
            raise
