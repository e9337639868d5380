"""Commands that a reader is told to run: whole, quoted for a shell, and reaching what the present command reached."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

#: Flags of the present command, each with its value when it has one.
Flags = Sequence[Sequence[str]]

#: What would start over or change nothing, and what must not be seen.
_LEFT_OUT = frozenset({"--password-stdin", "--dry-run", "--no-resume"})


class _Reach:
    """Of this process, which runs one command: `root` stands before the name of a command, `server` behind it."""

    root: Flags = ()
    server: Flags = ()


def reach(*, root: Flags | None = None, server: Flags | None = None) -> None:
    """Keep the flags that every other command needs to have the same plugins (`root`), server and user (`server`)."""
    if root is not None:
        _Reach.root = root
    if server is not None:
        _Reach.server = server


def command(*words: object, server: bool = True) -> str:
    """`xnatctl` with these words; with the flags that name the server, unless it asks none."""
    flags = [*_flat(_Reach.root), *map(str, words), *(_flat(_Reach.server) if server else ())]
    return shlex.join(["xnatctl", *flags])


def with_options(line: str, values: Mapping[str, str], flags: Sequence[str] = ()) -> str:
    """A command made by `command` with other values of options, and with more flags."""
    words = shlex.split(line)
    for option, value in values.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return shlex.join([*words, *(flag for flag in flags if flag not in words)])


def again(arguments: Sequence[str]) -> str:
    """`xnatctl` with the arguments that were given, without a password, `--dry-run`, and what would start over.

    What a variable said of the server is said by a flag: the variable may say something else by then.
    """
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip or argument == "--password":
            skip = not skip
        elif argument not in _LEFT_OUT and not argument.startswith("--password="):
            kept.append(argument)
    typed = {argument.partition("=")[0] for argument in kept}
    return shlex.join(["xnatctl", *kept, *_flat([flag for flag in _Reach.server if flag[0] not in typed])])


def _flat(flags: Flags) -> list[str]:
    return [word for flag in flags for word in flag]
