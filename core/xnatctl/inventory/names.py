"""File names: hidden files, files of operating systems, folders of version control."""

from __future__ import annotations

import re

#: Folders of version control, which are never entered.
VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".datalad"})
#: Folders that operating systems make, often unreadable for users.
_SYSTEM_FOLDERS = frozenset(
    {"__MACOSX", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found", ".Trashes", ".Spotlight-V100",
     ".fseventsd", ".DocumentRevisions-V100", ".TemporaryItems", ".snapshot"}
)  # fmt: skip
#: Their files and folders whose names begin without a dot.
_LITTER = frozenset({"__MACOSX", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "Thumbs.db", "desktop.ini"})
_SEPARATOR = re.compile(r"[/\\]")

#: The reasons for skipping files without DICOM.
LEFT_BEHIND = "left behind by an operating system"
HIDDEN = "hidden"
NOT_ENTERED = "a folder of version control, which is not entered"


def pieces(path: str) -> list[str]:
    """The names in a path; archive files from Windows programs separate them with backslashes."""
    return _SEPARATOR.split(path)


def relative(name: str) -> str:
    """A member's name without the root of an absolute path, on Windows too."""
    return _ABSOLUTE.sub("", name) or name


def leads_out(name: str) -> bool:
    """True for a member's name that leads above the directory in which the archive file would be unpacked."""
    return ".." in pieces(name)


_ABSOLUTE = re.compile(r"\A(?:[A-Za-z]:)?[/\\]+")

#: A hidden name in a path, except "." and "..".
_HIDDEN_NAME = re.compile(
    r"(?:^|(?<=[/\\]))(?:\.(?!\.?(?:[/\\]|$))[^/\\]*|(?:" + "|".join(map(re.escape, sorted(_LITTER))) + r")(?=[/\\]|$))"
)


def hidden_part(path: str) -> str | None:
    """The path up to its first hidden name; None if no name in it is hidden."""
    found = _HIDDEN_NAME.search(path)
    return path[: found.end()] if found is not None else None


def why_hidden(path: str) -> str | None:
    """Why a file without DICOM content is skipped by its name, or None."""
    if _HIDDEN_NAME.search(path) is None:
        return None
    return LEFT_BEHIND if any(name in _LITTER for name in pieces(path)) else HIDDEN


def is_system_folder(name: str) -> bool:
    """True for a folder that an operating system creates; it does not matter if it cannot be read."""
    return name in _SYSTEM_FOLDERS or name.startswith(".Trash-")


def version_control(path: str) -> str | None:
    """The path of the version control folder that contains a path, or None."""
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
