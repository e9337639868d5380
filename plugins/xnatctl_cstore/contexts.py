"""Presentation contexts: exactly what was found on disk, one transfer syntax each (xnat-api 5.2).

An acceptor chooses one of the transfer syntaxes of a context, so with two of them the files might not be sent
unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from xnatctl.api import UploadItem, is_uid

#: SOP class UID and transfer syntax UID.
Pair = tuple[str, str]

#: Context IDs are the odd numbers of one byte (PS3.8 7.1.1.13).
MOST = 128


def pair_of(item: UploadItem) -> Pair:
    """The context that an item needs."""
    return (item.sop_class_uid, item.transfer_syntax_uid)


def sendable(item: UploadItem) -> bool:
    """True if a context can describe the item; an item without a transfer syntax cannot be sent."""
    return is_uid(item.sop_class_uid) and is_uid(item.transfer_syntax_uid)


def counted(items: Iterable[UploadItem]) -> Counter[Pair]:
    """The number of items per context, in a fixed order."""
    found = Counter(pair_of(item) for item in items if sendable(item))
    return Counter({pair: found[pair] for pair in sorted(found)})


def grouped(items: Iterable[UploadItem]) -> tuple[tuple[Pair, ...], ...]:
    """The contexts of the items, in groups of which each fits one association."""
    pairs = tuple(counted(items))
    return tuple(pairs[first : first + MOST] for first in range(0, len(pairs), MOST))


def by_group(items: Sequence[UploadItem], groups: Sequence[Sequence[Pair]]) -> Sequence[Sequence[UploadItem]]:
    """The items of each group; items without a context are in the first."""
    if len(groups) < 2:
        return [items]  # as a rule; there may be very many
    place = {pair: number for number, group in enumerate(groups) for pair in group}
    parts: list[list[UploadItem]] = [[] for _ in groups]
    for item in items:
        parts[place.get(pair_of(item), 0)].append(item)
    return [part for part in parts if part]
