"""What file names say: hidden files, what operating systems leave behind, folders of version control."""

from __future__ import annotations

import re

#: Folders of version control, which are never entered.
VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".datalad"})
#: Folders that operating systems make, often unreadable for users.
_SYSTEM_FOLDERS = frozenset(
    {"__MACOSX", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found", ".Trashes", ".Spotlight-V100",
     ".fseventsd", ".DocumentRevisions-V100", ".TemporaryItems", ".snapshot"}
)  # fmt: skip
#: What they leave behind under names without a dot.
_LITTER = frozenset({"__MACOSX", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "Thumbs.db", "desktop.ini"})
_SEPARATOR = re.compile(r"[/\\]")

#: The reasons for leaving out what holds no DICOM.
LEFT_BEHIND = "left behind by an operating system"
HIDDEN = "hidden"
NOT_ENTERED = "a folder of version control, which is not entered"


def pieces(path: str) -> list[str]:
    """The names in a path; archive files that Windows programs write have backslashes between them."""
    return _SEPARATOR.split(path)


def relative(name: str) -> str:
    """A member's name without the beginning of an absolute path, of Windows as well."""
    return _ABSOLUTE.sub("", name) or name


def leads_out(name: str) -> bool:
    """True for a member's name that leads above the directory in which the archive file would be unpacked."""
    return ".." in pieces(name)


_ABSOLUTE = re.compile(r"\A(?:[A-Za-z]:)?[/\\]+")

#: A hidden name in a path, "." and ".." excepted.
_HIDDEN_NAME = re.compile(
    r"(?:^|(?<=[/\\]))(?:\.(?!\.?(?:[/\\]|$))[^/\\]*|(?:" + "|".join(map(re.escape, sorted(_LITTER))) + r")(?=[/\\]|$))"
)


def hidden_part(path: str) -> str | None:
    """The path up to its first hidden name, None when no name in it is hidden."""
    found = _HIDDEN_NAME.search(path)
    return path[: found.end()] if found is not None else None


def why_hidden(path: str) -> str | None:
    """Why a file without DICOM content is left out by its name, or None."""
    if _HIDDEN_NAME.search(path) is None:
        return None
    return LEFT_BEHIND if any(name in _LITTER for name in pieces(path)) else HIDDEN


def is_system_folder(name: str) -> bool:
    """True for a folder that an operating system makes: that it cannot be read is no loss."""
    return name in _SYSTEM_FOLDERS or name.startswith(".Trash-")


def version_control(path: str) -> str | None:
    """The path of the folder of version control that a path lies in, or None."""
    if "." not in path:
        return None
    place = 0
    *folders, _ = pieces(path)
    for piece in folders:
        place += len(piece)
        if piece in VERSION_CONTROL:
            return path[:place]
        place += 1
    return None
