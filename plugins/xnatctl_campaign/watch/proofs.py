"""Which studies of an inbox were proven and kept, so that a new start does not ask the server for each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from xnatctl.api import PrivateFolder

_PURPOSE: Final = "The state of the watcher is stored there."


class Proofs:
    """A file for each study, with the signature that it had when it was proven. `key` identifies inbox and rules."""

    def __init__(self, key: str) -> None:
        self._folder = PrivateFolder(f"watch/{key}")
        self._known: dict[str, str | None] = {}

    def check_writable(self) -> None:
        """Raise ConfigError if nothing can be stored."""
        self._folder.check_writable(_PURPOSE)

    def holds(self, uid: str, signature: str) -> bool:
        """Whether a study was proven as it is now."""
        if uid not in self._known:
            self._known[uid] = self._folder.read(_name(uid))
        return self._known[uid] == signature

    def add(self, uid: str, signature: str) -> None:
        """Record a proof."""
        self._folder.write(_name(uid), signature)
        self._known[uid] = signature

    def forget(self, uids: Collection[str]) -> None:
        """Forget the studies that are not in the inbox any more; `uids` are those that are."""
        for uid in self._known.keys() - set(uids):
            del self._known[uid]
            with suppress(OSError):
                (self._folder.path / _name(uid)).unlink(missing_ok=True)


def _name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
