"""Several paths as the source of one upload: which of them are read, in which order, and how their files are named.

The order in which the user names the paths does not matter: the same paths give the same files with the same names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from xnatctl.errors import PermissionDenied, UsageError
from xnatctl.inventory import archives
from xnatctl.inventory.names import version_control
from xnatctl.inventory.tree import Collector, Walk, status_of
from xnatctl.operating_system.files import as_followed, real_path, reason
from xnatctl.operating_system.files import status as status_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One path of an upload, see `as_followed`. `container` is the kind of an archive file, else None."""

    path: str
    real: str  # without symbolic links
    status: os.stat_result
    container: str | None = None

    @classmethod
    def of(cls, path: str) -> Place:
        """Look at a path. Raises NotFound, PermissionDenied."""
        status = status_of(path)
        try:
            container = None if stat.S_ISDIR(status.st_mode) else archives.kind_of(path)
        except OSError as error:
            raise PermissionDenied(f"Cannot read {path}: {reason(error)}.") from error
        return cls(path=as_followed(path), real=real_path(path), status=status, container=container)

    @property
    def is_directory(self) -> bool:
        """True for a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def kind(self) -> str:
        """`directory`, `file` or `archive`."""
        return "directory" if self.is_directory else "file" if self.container is None else "archive"

    def is_read_with(self, other: Place) -> bool:
        """True if the walk through the directory `other` reads this one as well.

        It does not read archive files inside, and it enters no folder of version control.
        """
        above = other.real.rstrip(os.sep) + os.sep
        if not other.is_directory or self.container is not None or not self.real.startswith(above):
            return False
        return version_control(f"{self.real[len(above) :]}/".replace(os.sep, "/")) is None


def places_of(paths: Sequence[str]) -> list[Place]:
    """The paths to read, in the order of reading, without repeated ones and without those inside another one.

    Raises NotFound, PermissionDenied.
    """
    found = {place.real: place for place in sorted(map(Place.of, paths), key=_key, reverse=True)}
    return [
        place
        for place in sorted(found.values(), key=_key)
        if not any(place.is_read_with(found[above]) for above in _above(place.real) if above in found)
    ]


def _above(path: str) -> Iterator[str]:
    """The directories that hold a path, from the nearest on."""
    while (above := os.path.dirname(path)) != path:
        yield above
        path = above


def _key(place: Place) -> tuple[str, str]:
    return place.real, os.path.abspath(place.path)


def common_root(places: Sequence[Place]) -> str:
    """The absolute path of the directory that holds several places. Raises UsageError if there is none."""
    folders = [os.path.abspath(place.path) for place in places]
    folders = [
        folder if place.is_directory else os.path.dirname(folder) for folder, place in zip(folders, places, strict=True)
    ]
    try:
        return os.path.commonpath(folders)
    except ValueError:
        raise UsageError(
            f"{places[0].path} and {places[-1].path} are on different drives.",
            hint="Upload the paths of each drive on their own: the second upload adds to the session of the first.",
        ) from None


def name_below(root: str, path: str) -> str:
    """The name of a path below a root, with `/`; empty for the root itself."""
    name = os.path.relpath(os.path.abspath(path), root)
    return "" if name == os.curdir else name.replace(os.sep, "/")


class Walks:
    """Walks through several directories as through one: what is entered once is not entered again.

    `apart` are files that are read on their own, by their real paths; the walks pass them over.
    """

    def __init__(self, collector: Collector, *, follow: bool, apart: Iterable[str] = ()) -> None:
        self._collector = collector
        self._follow = follow
        self._apart = frozenset(apart)
        self._entered: set[tuple[int, int]] = set()

    def run(self, directory: str, name: str = "") -> None:
        """Pass everything below a directory to the collector; `name` precedes the names of its files."""
        Walk(directory, self._collector, follow=self._follow, name=name, entered=self._entered, apart=self._apart).run()


def list_again(root: str, sources: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """The absolute path, the name and "is a directory" of each source of an earlier inventory that still exists.

    `sources` are empty for an inventory of one path, which is `root`.
    """
    for path in map(os.path.abspath, sources or (root,)):
        try:
            is_directory = stat.S_ISDIR(status_at(path).st_mode)
        except OSError:
            continue
        yield path, name_below(root, path) if sources else "" if is_directory else os.path.basename(path), is_directory
