"""The help of a command: its options under headings, then examples, and where the documentation is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from xnatctl.cli.error_pages import address_of

F = TypeVar("F", bound=Callable[..., Any])

#: The heading of options without one.
_PLAIN: Final = "Options"
#: Headings in their order. Those of plugins stand between the two.
_FIRST: Final = (_PLAIN, "Destination", "Source", "Rows", "Sending", "Checking")
_LAST: Final = ("Rows and columns", "Server and login", "Output")
#: The attribute of a parameter that holds its heading.
_HEADING: Final = "xnatctl_heading"


def option_group(heading: str, *options: Callable[[F], F]) -> Callable[[F], F]:
    """Options under a heading of the help: `option_group("Sending", click.option(...), click.option(...))`.

    Options that have a heading keep it, so that groups can be nested.
    """

    def decorate(function: F) -> F:
        before = list(_parameters(function))
        for option in reversed(options):
            function = option(function)
        for parameter in _parameters(function):
            if not any(parameter is other for other in before):
                under(heading, parameter)
        return function

    return decorate


def _parameters(function: Callable[..., Any]) -> Sequence[click.Parameter]:
    """What decorators of click have added so far, to a function or to the command made of it."""
    return function.params if isinstance(function, click.Command) else getattr(function, "__click_params__", [])


def under(heading: str, parameter: click.Parameter) -> None:
    """Put a parameter under a heading, unless it has one."""
    if not hasattr(parameter, _HEADING):
        setattr(parameter, _HEADING, heading)


def help_text(context: click.Context, examples: Sequence[str] = (), page: str = "") -> str:
    """The help of the command of a context, as wide as the terminal."""
    command, formatter = context.command, context.make_formatter()
    command.format_usage(context, formatter)
    command.format_help_text(context, formatter)
    for heading, parameters in grouped(command.get_params(context)):
        records = [record for each in parameters if (record := each.get_help_record(context)) is not None]
        if records:
            with formatter.section(heading):
                formatter.write_dl(records)
    command.format_epilog(context, formatter)
    write_end(formatter, examples, page)
    return formatter.getvalue().rstrip("\n")


def write_end(formatter: click.HelpFormatter, examples: Sequence[str], page: str) -> None:
    """The end of every help: examples, and the address of the page, which has a line of its own if it is long."""
    if examples:
        with formatter.section("Examples"):
            formatter.write("".join(f"{'':{formatter.current_indent}}{line}\n" for line in examples))
    label, address = "Documentation:", address_of(page)
    space = " " if len(f"{label} {address}") <= formatter.width else "\n"
    formatter.write(f"\n{label}{space}{address}\n")


def commands_in(examples: Sequence[str]) -> list[str]:
    """The commands among the lines of examples, each in one line."""
    text = re.sub(r"\\\n\s*", "", "\n".join(examples))
    return [line for line in text.splitlines() if not line.startswith("#")]


def grouped(parameters: Sequence[click.Parameter]) -> list[tuple[str, list[click.Parameter]]]:
    """Options by heading, in the order of the help; `--help` is the last one."""
    groups: dict[str, list[click.Parameter]] = {}
    for parameter in parameters:
        if isinstance(parameter, click.Option) and "--help" not in parameter.opts:
            groups.setdefault(getattr(parameter, _HEADING, _PLAIN), []).append(parameter)
    between = [heading for heading in groups if heading not in (*_FIRST, *_LAST)]
    found = [(heading, groups[heading]) for heading in (*_FIRST, *between, *_LAST) if heading in groups]
    found = found or [(_PLAIN, [])]
    found[-1][1].extend(parameter for parameter in parameters if "--help" in parameter.opts)
    return found
