"""Digests of content, which show whether a file is unchanged although its time has changed.

Every byte is hashed while it is sent. SHA-256 would be the bottleneck on a fast link, and on any link if the processor
has no instructions for it. Against accidental changes, 128 bits of XXH3 are as good and thirty times as fast. XXH3 is
used if its library is installed, SHA-256 otherwise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Final, Protocol

#: The name of the quick algorithm, which is the prefix of its digests.
QUICK: Final = "xxh128"
#: The algorithm that this installation uses.
FINGERPRINT: Final = QUICK if find_spec("xxhash") is not None else "sha256"


class Digest(Protocol):
    """A running digest."""

    def update(self, data: bytes, /) -> None:
        """Add content."""
        ...

    def hexdigest(self) -> str:
        """The digest of everything added, in hex."""
        ...


def new_digest(algorithm: str) -> Digest:
    """A new digest: `xxh128`, or an algorithm of hashlib."""
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
    """Raise ValueError for a text that `digest_text` does not produce."""
    if not _DIGEST.match(text):
        raise ValueError(f"{text[:80]!r} is not a digest")


def digest_text(algorithm: str, text: str) -> str:
    """A digest as it is stored: SHA-256 and MD5 without prefix, as in earlier journals and on servers."""
    return f"{QUICK}:{text}" if algorithm == QUICK else text
