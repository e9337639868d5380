"""Suggestions for misspelt commands and options."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

#: Most commands in a suggestion.
_MOST = 3


def among(word: str, words: Collection[str]) -> str:
    """A hint for an unknown word: the most similar known word, or all known words."""
    close = _near(word, words)
    return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(words) or 'none'}."


def commands_like(group: str, words: Sequence[str], known: Collection[str]) -> list[str]:
    """Paths of commands similar to `words`, typed after `group` ("" at the root), best first.

    A word may be misspelt, belong to another group, or be a command whose group is missing.
    """
    name = words[0]
    known = sorted(known, key=lambda path: (not path.startswith("session "), path))
    inside = _near(name, {_next_word(path, group) for path in known if _is_below(path, group)})
    found = [path for close in inside for path in _completed(f"{group} {close}".strip(), words[1:], known)]
    exactly = [path for path in known if name.replace("-", " ") == path or _last_word(path) == name]
    if not group:
        found = exactly or found
    elif os.path.exists(name) or not (found or exactly):
        # `xnatctl upload DIR`: a command in another group has the name of this group.
        found = [path for path in known if path.endswith(f" {group}")] or found or exactly
    if not (found or exactly):
        found = [
            path for close in _near(name, {*map(_last_word, known)}) for path in known if _last_word(path) == close
        ]
    return list(dict.fromkeys(found or exactly))[:_MOST]


def _last_word(path: str) -> str:
    return path.rpartition(" ")[2]


def _completed(path: str, rest: Sequence[str], known: Collection[str]) -> Iterable[str]:
    """The path if it is a command; for a group, its command most similar to the next word, or the group."""
    if path in known:
        return [path]
    below = {_next_word(other, path) for other in known if _is_below(other, path)}
    close = [word for word in rest[:1] if word in below] or (_near(rest[0], below) if rest else [])
    return [f"{path} {word}" for word in close] or [path]


def _near(word: str, words: Collection[str]) -> list[str]:
    import difflib

    return difflib.get_close_matches(word, sorted(words), n=_MOST, cutoff=0.65)


def _is_below(path: str, group: str) -> bool:
    return path.startswith(f"{group} ") if group else True


def _next_word(path: str, group: str) -> str:
    return path.removeprefix(group).split()[0]
