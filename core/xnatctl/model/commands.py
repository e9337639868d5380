"""Commands that a reader is told to run: whole, quoted for a shell, and reaching what the present command reached.

A path stands as it was typed; it is absolute in a command that is kept and may be read in another directory. The server
is named when a flag or a variable named it, unless the journal or the configuration knows it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Flags of the present command, each with its value when it has one.
Flags = Sequence[Sequence[str]]

#: As the value of a secret option: read it from the terminal or from standard input.
ASK = "-"

#: What would start over or change nothing, and what must not be seen.
_LEFT_OUT = frozenset({"--password-stdin", "--dry-run", "--no-resume"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Commands:
    """Makes commands with the flags that reach what the present command reached.

    `root` stands before the name of a command and chooses the plugins; `server` stands behind it and chooses server
    and user. `arguments` is the present command line without the program. Without any, commands have no flags.
    `secret` names flags whose values must not be seen: a command asks for them.
    """

    root: Flags = ()
    server: Flags = ()
    arguments: Sequence[str] = ()
    secret: frozenset[str] = frozenset()

    def command(self, *words: object, server: bool = True) -> str:
        """`xnatctl` with these words, quoted for a shell; `server=False` for a command that asks no server."""
        flags = [*_flat(self.root), *map(str, words), *(_flat(self.server) if server else ())]
        return shlex.join(["xnatctl", *flags])

    def rerun(self) -> str:
        """The present command again, without secrets, without `--dry-run` and without what would start over.

        A flag says what a variable said of the server: the variable may say something else by then.
        """
        kept: list[str] = []
        skip = False
        for argument in self.arguments:
            if skip or argument == "--password":
                skip = not skip
            elif kept and kept[-1] in self.secret:
                kept.append(ASK)
            elif (flag := argument.partition("=")[0]) in self.secret and flag != argument:
                kept += [flag, ASK]
            elif argument not in _LEFT_OUT and not argument.startswith("--password="):
                kept.append(argument)
        typed = {argument.partition("=")[0] for argument in kept}
        return shlex.join(["xnatctl", *kept, *_flat([flag for flag in self.server if flag[0] not in typed])])

    @staticmethod
    def with_options(line: str, values: Mapping[str, str], flags: Sequence[str] = ()) -> str:
        """A command line with other values of options, and with more flags."""
        words = shlex.split(line)
        for option, value in values.items():
            if option in words:
                words[words.index(option) + 1] = value
            else:
                words += [option, value]
        return shlex.join([*words, *(flag for flag in flags if flag not in words)])


#: Commands of a process that knows no flags, such as a test.
PLAIN = Commands()


def _flat(flags: Flags) -> list[str]:
    return [word for flag in flags for word in flag]
