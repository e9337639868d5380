"""Which studies of an inbox were proven and kept, so that a new start does not ask the server for each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final

from xnatctl.api import PrivateFolder

_PURPOSE: Final = "The state of the watcher is stored there."


class Proofs:
    """A file for each study, with the signature that it had when it was proven. `key` identifies inbox and rules."""

    def __init__(self, key: str) -> None:
        self._folder = PrivateFolder(f"watch/{key}")
        self._known: dict[str, str | None] = {}
        self._swept = False  # proofs of studies that left the inbox before this start are removed once

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
        left = self._known.keys() - set(uids)
        self._remove(map(_name, left))
        for uid in left:
            del self._known[uid]
        if not self._swept:
            self._swept = True
            with suppress(OSError):
                found = {path.name for path in self._folder.path.iterdir()}
                self._remove(found - set(map(_name, uids)))

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(OSError):
                (self._folder.path / name).unlink(missing_ok=True)


def _name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
