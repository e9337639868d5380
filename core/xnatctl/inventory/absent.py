"""Files whose content is elsewhere: links and pointers of git-annex, pointers of Git LFS and iCloud."""

from __future__ import annotations

import os
import re
from functools import lru_cache

from xnatctl.operating_system.command_line import quote_word

#: No pointer is larger (git-annex: 32 KiB, its first line; LFS: 1 KiB).
MOST = 32 * 1024
#: The commands that fetch the content.
ICLOUD = "brctl download"
ANNEX, _LFS = "git annex get", "git lfs pull"
_LFS_POINTER = re.compile(rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v")
#: A pointer file, and a link on file systems without symbolic links.
_ANNEX_POINTER = re.compile(rb"(?:/annex/objects/[^\0\n]+(?:\n|\Z)|[^\0\n]{0,4096}/annex/objects/[^\0\n]+\n?\Z)")
#: The placeholder of an evicted file.
_ICLOUD_NAME = re.compile(r"(?:^|(?<=[/\\]))\.([^/\\]+)\.icloud\Z")
_STORE = "/annex/objects/"


def pointer_command(head: bytes, size: int, path: str) -> str | None:
    """The command that fetches the content of a pointer file; None for other files. `head` is its first 512 bytes."""
    if size > MOST:
        return None
    if head.startswith(b"bplist00") and _ICLOUD_NAME.search(path):
        return ICLOUD
    if _ANNEX_POINTER.match(head):
        return ANNEX
    return _LFS if size < 1024 and _LFS_POINTER.match(head) else None


def fetch(command: str, full: str) -> str:
    """The reason for a pointer file, with the command that fetches its content; `full` is its absolute path."""
    folder, name = os.path.split(full)
    if command == ICLOUD:
        evicted = os.path.join(folder, _ICLOUD_NAME.sub(r"\1", name))
        wanted = f"{command} {quote_word(evicted)}"
    else:
        # Not "cd ... && git ...": PowerShell 5 does not know "&&".
        wanted = f"git -C {quote_word(folder)} {command.removeprefix('git ')}"
        if command == ANNEX:
            wanted += f" {quote_word(f'./{name}' if name.startswith('-') else name)}"
    return f"its content is not on this disk; fetch it with: {wanted}"


def not_packed(command: str) -> str:
    """The reason for a pointer in an archive file."""
    return f"its content is not in the archive file; fetch it with {command}, and create the archive file again"


def missing_annex_link(full: str, target: str) -> str | None:
    """The reason for a broken link; None if it does not lead into an annex."""
    try:
        link = os.readlink(full)
    except OSError:
        link = ""
    if _STORE in f"/{link}" or _STORE in target:
        return fetch(ANNEX, full)
    return None


def is_annexed(full: str, target: str) -> bool:
    """Whether a link leads to content of its own git repository, wherever that stores it."""
    if _STORE not in target:
        return False
    return any(target.startswith(f"{store}/annex/objects/") for store in _stores(os.path.dirname(full)))


@lru_cache(maxsize=1024)
def _stores(folder: str) -> tuple[str, ...]:
    """The directories in which the git repository of a folder stores its data (gitrepository-layout(5))."""
    git = os.path.join(folder, ".git")
    if os.path.isdir(git):
        return _with_common(os.path.realpath(git))
    if os.path.isfile(git):  # of a submodule or a worktree: it names the directory
        try:
            with open(git, "rb") as file:
                content = os.fsdecode(file.read(8192))
        except OSError:
            return ()
        if content.startswith("gitdir:"):
            return _with_common(os.path.realpath(os.path.join(folder, content[7:].strip())))
    above = os.path.dirname(folder)
    return _stores(above) if above != folder else ()


def _with_common(git: str) -> tuple[str, ...]:
    try:
        with open(os.path.join(git, "commondir"), "rb") as file:
            common = os.path.realpath(os.path.join(git, os.fsdecode(file.read(8192)).strip()))
    except OSError:
        return (git,)
    return (git, common)
