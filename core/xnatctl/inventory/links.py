"""Links inside an archive file, and the members to which they lead."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from posixpath import dirname, join, normpath
from typing import Final

from xnatctl.inventory.archives import Member
from xnatctl.inventory.names import relative

#: Maximum length of a chain of links, as on Linux.
_MOST: Final = 40


@dataclass(frozen=True, slots=True)
class Link:
    """A link and its `target` as stored; that of a symbolic link is relative to the link."""

    path: str
    target: str
    is_symbolic: bool

    @property
    def kind(self) -> str:
        """Its name in messages."""
        return "symbolic link" if self.is_symbolic else "hard link"


class Links:
    """The links of one archive file, and the members that were skipped because of their names.

    A link to an examined member adds nothing. A link to a skipped member is the only name under which its content can
    be sent.
    """

    def __init__(self) -> None:
        self._all: list[tuple[str, Link]] = []
        self._links: dict[str, Link] = {}
        self._left_out: dict[str, Member] = {}
        self._unnamed: list[str] = []

    def __len__(self) -> int:
        """The number of links and members recorded."""
        return len(self._all) + len(self._left_out)

    def add(self, path: str, member: Member) -> None:
        """Record a member that is a link."""
        if member.target is not None:
            name, link = normpath(member.name), Link(path, member.target, member.is_symbolic)
            self._all.append((name, link))
            self._links[name] = link

    def leave_out(self, member: Member) -> None:
        """Record a member that was skipped by its name; if it is a link, other links may lead through it."""
        name = normpath(member.name)
        if member.target is not None:
            self._links[name] = Link(name, member.target, member.is_symbolic)
        else:
            self._left_out[name] = member

    def resolve(self, names: Iterable[str]) -> Iterator[tuple[Link, str | None, list[tuple[str, Member]]]]:
        """Each link, the name of its target, and the skipped members that it gives access to, with their paths.

        `names` are those of all members. The target is None if the archive file does not contain it.
        """
        if not self._links:
            return
        known = {normpath(name) for name in names}
        folders = {"."}
        for name in known:
            while (name := dirname(name)) and name not in folders:
                folders.add(name)
        self._unnamed = sorted(self._left_out)
        for name, link in self._all:
            target = self._follow(name, link)
            if target is None or (target not in known and target not in folders):
                yield link, None, []
            else:
                yield link, target, self._unseen(link, target, is_folder=target in folders)

    def _follow(self, name: str, link: Link) -> str | None:
        """The target of a link, through all links on the way; None for a loop and for a target outside."""
        place = name
        for _ in range(_MOST):
            target = relative(link.target)  # absolute names are shown without their root
            if link.is_symbolic and target == link.target:
                target = join(dirname(place), target)
            name = normpath(target + name[len(place) :])
            if name.startswith("../") or name == "..":
                return None
            place = next((folder for folder in _upwards(name) if folder in self._links), "")
            if not place:
                return name
            link = self._links[place]
        return None

    def _unseen(self, link: Link, target: str, *, is_folder: bool) -> list[tuple[str, Member]]:
        """The skipped members to which a link leads; each is returned once."""
        if target in self._left_out:
            return [(link.path, self._left_out.pop(target))]
        if not is_folder:
            return []
        first, behind = (bisect_left(self._unnamed, f"{target}{mark}") for mark in "/0")  # "0" comes after "/"
        inside = self._unnamed[first:behind] if target != "." else []
        if inside:
            del self._unnamed[first:behind]
        return [
            (link.path + name[len(target) :], self._left_out.pop(name)) for name in inside if name in self._left_out
        ]


def _upwards(name: str) -> Iterator[str]:
    """A name and the folders above it."""
    while name and name not in ("/", "."):
        yield name
        name = dirname(name)
