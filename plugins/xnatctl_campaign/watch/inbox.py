"""The studies of an inbox, and whether they are quiet.

Listings are compared with each other, so the clocks of this machine and of a file server need not agree. A study is
quiet when for some time no file of it changed, appeared or vanished, and neither did a file beside it whose study is
not known: a file that is being written may have no header yet.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from xnatctl_campaign.watch.listing import FileState, Listing


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What the content of a file says: `study` is its StudyInstanceUID, empty for a file that is no instance.

    `damaged`: why a file that is DICOM, or may be, cannot be sent.
    """

    study: str = ""
    damaged: str = ""


@dataclass(frozen=True, kw_only=True)
class InboxStudy:
    """A study of the inbox. `suspects` are damaged files beside it, which may belong to it."""

    uid: str
    files: Mapping[str, FileState]
    suspects: Mapping[str, FileState]

    @cached_property
    def signature(self) -> str:
        """A digest of its files and their states."""
        return signature_of({**self.files, **self.suspects})

    @property
    def folder(self) -> str:
        """The folder of its first file, for messages."""
        return os.path.dirname(min(self.files)) or "."


def signature_of(files: Mapping[str, FileState]) -> str:
    """A digest of files and their states."""
    digest = hashlib.sha256()
    for path, state in sorted(files.items()):
        digest.update(path.encode("utf-8", "surrogateescape") + b"\0" + repr(tuple(state)).encode())
    return digest.hexdigest()


@dataclass(slots=True)
class _Known:
    state: FileState
    since: float  # when it was last seen to change
    identity: Identity


class Inbox:
    """Compares the listings of an inbox. Times are seconds of the monotonic clock.

    `identify(path)` reads a file; it is called when a file appears and when it has changed.
    """

    def __init__(self, identify: Callable[[str], Identity], quiet: float) -> None:
        self._identify = identify
        self._quiet = quiet
        self._files: dict[str, _Known] = {}
        self._gone: dict[str, tuple[float, str]] = {}  # path -> when it vanished, and its study
        self._closed: tuple[str, ...] = ()
        self._studies: list[InboxStudy] | None = None  # None: something has changed since

    def update(self, listing: Listing, now: float) -> None:
        """Take a listing that was just made."""
        for path in [path for path in self._files if path not in listing.files]:
            known = self._files[path]
            if _is_below(path, listing.closed):
                known.since = now  # it may be there
            else:
                self._drop(path)
                self._gone[path] = (now, known.identity.study)
        for path, state in listing.files.items():
            before = self._files.get(path)
            if before is not None and before.state == state:
                continue
            if before is not None and before.identity.study:
                self._gone[path] = (now, before.identity.study)
            self._drop(path)
            self._files[path] = _Known(state, now, self._identify(path))
        self._closed = tuple(listing.closed)
        self._gone = {path: gone for path, gone in self._gone.items() if now - gone[0] < self._quiet}

    def removed(self, paths: Iterable[str]) -> None:
        """The watcher itself removed these files, which makes no study restless."""
        for path in paths:
            self._drop(path)

    def _drop(self, path: str) -> None:
        self._files.pop(path, None)
        self._studies = None

    def unsettle(self, now: float) -> None:
        """The inbox cannot be read: whatever is there may change."""
        for known in self._files.values():
            known.since = now

    def studies(self) -> list[InboxStudy]:
        """All studies, the one that has been quiet for longest first."""
        if self._studies is None:
            self._studies = self._find()
        return self._studies

    def _find(self) -> list[InboxStudy]:
        files: dict[str, dict[str, FileState]] = {}
        since: dict[str, float] = {}
        for path, known in self._files.items():
            if uid := known.identity.study:
                files.setdefault(uid, {})[path] = known.state
                since[uid] = max(since.get(uid, known.since), known.since)
        owners = _Owners(files)
        suspects: dict[str, dict[str, FileState]] = {}
        for path, known in self._files.items():
            if known.identity.damaged:
                for uid in owners.of(path):
                    suspects.setdefault(uid, {})[path] = known.state
        return [
            InboxStudy(uid=uid, files=files[uid], suspects=suspects.get(uid, {}))
            for uid in sorted(files, key=lambda uid: (since[uid], uid))
        ]

    def restless(self, studies: Iterable[InboxStudy], now: float) -> set[str]:
        """The UIDs of the studies that are not quiet, or that may have files in a folder that cannot be read."""
        changes = [*self._changes(now), *((f"{folder}/", "") for folder in self._closed)]
        if not changes:
            return set()
        owners = _Owners({study.uid: study.files for study in studies})
        found: set[str] = set()
        for path, uid in changes:
            found |= {uid} if uid else owners.of(path)
        return found

    def _changes(self, now: float) -> Iterator[tuple[str, str]]:
        """Path and study of every file that changed, appeared or vanished a short time ago."""
        for path, known in self._files.items():
            if now - known.since < self._quiet:
                yield path, known.identity.study
        for path, (when, uid) in self._gone.items():
            if now - when < self._quiet:
                yield path, uid

    def strays(self, studies: Iterable[InboxStudy], now: float) -> dict[str, str]:
        """Damaged files beside no study that have been quiet, with the reason."""
        suspects = {path for study in studies for path in study.suspects}
        return {
            path: known.identity.damaged
            for path, known in self._files.items()
            if known.identity.damaged and path not in suspects and now - known.since >= self._quiet
        }


class _Owners:
    """The studies to which a file may belong whose content does not say it: those in its folder or below it.

    If there are none, the nearest folder above decides; the inbox itself counts only for files that lie directly in it.
    """

    def __init__(self, studies: Mapping[str, Mapping[str, FileState]]) -> None:
        self._of: dict[str, set[str]] = {}
        for uid, files in studies.items():
            for folder in {os.path.dirname(path) for path in files}:
                self._of.setdefault(folder, set()).add(uid)
                above = os.path.dirname(folder)
                while above:
                    self._of.setdefault(above, set()).add(uid)
                    above = os.path.dirname(above)

    def of(self, path: str) -> set[str]:
        folder = os.path.dirname(path)
        while folder and folder not in self._of:
            folder = os.path.dirname(folder)
            if not folder:
                return set()
        return self._of.get(folder, set())


def _is_below(path: str, folders: Mapping[str, str]) -> bool:
    folder = os.path.dirname(path)
    while folder:
        if folder in folders:
            return True
        folder = os.path.dirname(folder)
    return False
