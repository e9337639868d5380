"""Commands in messages: complete, quoted for a shell, with the same server, user and plugins as the current command.

A path is printed as it was typed; it is absolute in a command that is stored and may be read in another directory. The
server is included if a flag or a variable named it, unless the journal or the configuration knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xnatctl.operating_system.command_line import join_command, split_command

#: Flags of the current command, each with its value if it has one.
Flags = Sequence[Sequence[str]]

#: As the value of a secret option: read it from the terminal or from standard input.
ASK = "-"

#: Flags that a command to run again omits.
_LEFT_OUT = frozenset({"--password-stdin", "--dry-run", "--no-resume"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Commands:
    """Makes commands with the flags of the current command.

    `root` flags precede the name of a command and choose the plugins; `server` flags follow it and choose server and
    user. `arguments` is the current command line without the program, and `implied` flags that settings stood for. By
    default, commands have no flags. `secret` names flags whose values are secret: a command asks for them.
    """

    root: Flags = ()
    server: Flags = ()
    arguments: Sequence[str] = ()
    secret: frozenset[str] = frozenset()
    implied: Flags = ()

    def command(self, *words: object, server: bool = True) -> str:
        """`xnatctl` with these words, quoted for a shell; `server=False` for a command without a server."""
        flags = [*_flat(self.root), *map(str, words), *(_flat(self.server) if server else ())]
        return join_command(["xnatctl", *flags])

    def rerun(self) -> str:
        """The current command, without secrets, `--dry-run` and `--no-resume`.

        Variables that name the server, and the default project, become flags, because they may have changed when the
        command is run.
        """
        kept: list[str] = []
        skip = False
        arguments = list(self.arguments)
        end = arguments.index("--") if "--" in arguments else len(arguments)  # what follows is no flag
        for argument in arguments[:end]:
            if skip or argument == "--password":
                skip = not skip
            elif kept and kept[-1] in self.secret:
                kept.append(ASK)
            elif (flag := argument.partition("=")[0]) in self.secret and flag != argument:
                kept += [flag, ASK]
            elif argument not in _LEFT_OUT and not argument.startswith("--password="):
                kept.append(argument)
        typed = {argument.partition("=")[0] for argument in kept}
        added = [flag for flag in (*self.implied, *self.server) if flag[0] not in typed]
        return join_command(["xnatctl", *kept, *_flat(added), *arguments[end:]])

    @staticmethod
    def with_options(line: str, values: Mapping[str, str], flags: Sequence[str] = ()) -> str:
        """A command line with changed values of options, and with additional flags."""
        words = split_command(line)
        for option, value in values.items():
            if option in words:
                words[words.index(option) + 1] = value
            else:
                words += [option, value]
        return join_command([*words, *(flag for flag in flags if flag not in words)])


#: Commands without flags, such as in a test.
PLAIN = Commands()


def _flat(flags: Flags) -> list[str]:
    return [word for flag in flags for word in flag]
