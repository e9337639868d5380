"""Digests of content, for telling whether a file is what it was although its time has changed.

Every byte that is sent is hashed on the way. SHA-256 would be the slowest part of the way on a fast link, and without
instructions of its own in the processor on any; against accident, not malice, 128 bits of XXH3 tell as much at thirty
times the speed. It is used where its library is installed, SHA-256 elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Final, Protocol

#: The quick algorithm, as it stands before a digest.
QUICK: Final = "xxh128"
#: What this installation uses.
FINGERPRINT: Final = QUICK if find_spec("xxhash") is not None else "sha256"


class Digest(Protocol):
    """A running digest."""

    def update(self, data: bytes, /) -> None:
        """More of the content."""
        ...

    def hexdigest(self) -> str:
        """Of all of it, in hex."""
        ...


def new_digest(algorithm: str) -> Digest:
    """A digest of nothing yet: `xxh128`, or what hashlib knows."""
    if algorithm == QUICK:
        quick: Digest = _xxh3_128()()
        return quick
    return hashlib.new(algorithm, usedforsecurity=False)


@cache
def _xxh3_128() -> Callable[[], Digest]:
    import xxhash

    return xxhash.xxh3_128


_DIGEST: Final = re.compile(rf"(?:{QUICK}:[0-9a-f]{{32}}|[0-9a-f]{{64}}|[0-9a-f]{{32}})\Z")


def check_digest(text: str) -> None:
    """Raise ValueError for what `digest_text` has not made."""
    if not _DIGEST.match(text):
        raise ValueError(f"{text[:80]!r} is no digest")


def digest_text(algorithm: str, text: str) -> str:
    """A digest as it is kept: SHA-256 and MD5 bare, as earlier journals and servers have them."""
    return f"{QUICK}:{text}" if algorithm == QUICK else text
