"""Rewrites usage errors of click: names all missing parameters at once and suggests corrections."""

from __future__ import annotations

from collections.abc import Sequence

import click

from xnatctl.cli.help import commands_in
from xnatctl.cli.lazy import LazyGroup, examples_of
from xnatctl.errors import UsageError


def usage_error(error: click.ClickException) -> UsageError:
    """The UsageError for a command line that click refuses; its context shows the usage line."""
    context: click.Context | None = getattr(error, "ctx", None)
    if context is None:
        return UsageError(error.format_message())
    usage = " ".join(context.get_usage().split())
    see = f"{usage} (all options: -h)"
    if isinstance(error, click.NoSuchOption):
        return UsageError(f"There is no option {error.option_name}.", hint=_option_hint(error, context) or see)
    if isinstance(error, click.MissingParameter) and (missing := _missing(context)):
        return UsageError(f"Missing: {', '.join(missing)}.", hint=example_with(context, missing) or see)
    message = error.format_message()
    return UsageError(message if message.endswith(".") else f"{message}.", hint=see)


def example_with(context: click.Context, missing: Sequence[str]) -> str | None:
    """A hint: the first example of the command that has the missing options; None without one."""
    flags = {name.split(" ")[0] for name in missing if name.startswith("-")}
    found = (command for command in commands_in(examples_of(context)) if flags <= set(command.split(" ")))
    return next((f"Example: {command} (all options: -h)" for command in found), None)


def _option_hint(error: click.NoSuchOption, context: click.Context) -> str | None:
    """A hint: the right position of the option, or a similar one."""
    root = context.find_root()
    if context is not root and any(error.option_name in option.opts for option in root.command.params):
        return f"Put it before the command: {root.command_path} {error.option_name} ..."
    if error.possibilities:
        return f"Did you mean {error.possibilities[0]}? All options: {context.command_path} -h"
    if isinstance(context.command, LazyGroup):
        if meant := context.command.did_you_mean(context, [error.option_name]):
            return meant
        return f"Put options of a command after it: {context.command_path} COMMAND {error.option_name}"
    return None


def _missing(context: click.Context) -> list[str]:
    """All missing required parameters; click names only the first."""
    typed = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.ENVIRONMENT)
    names = []
    with context.scope(cleanup=False):
        for parameter in context.command.get_params(context):
            if not parameter.required or context.get_parameter_source(parameter.name or "") in typed:
                continue
            value, _ = parameter.consume_value(context, {})
            if parameter.value_is_missing(value):
                names.append(_shown(parameter))
    return names


def _shown(parameter: click.Parameter) -> str:
    """An option with its value, such as `-P PROJECT`; the name of an argument."""
    if isinstance(parameter, click.Option):
        return f"{parameter.opts[0]} {parameter.metavar or (parameter.name or '').upper()}"
    return parameter.human_readable_name.removesuffix("...")
