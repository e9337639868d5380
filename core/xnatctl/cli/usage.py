"""Rewrites usage errors of click: names all missing parameters at once and suggests corrections."""

from __future__ import annotations

import click

from xnatctl.cli.lazy import LazyGroup
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
        return UsageError(f"Missing: {', '.join(missing)}.", hint=see)
    message = error.format_message()
    return UsageError(message if message.endswith(".") else f"{message}.", hint=see)


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
                option = isinstance(parameter, click.Option)
                names.append("/".join(parameter.opts) if option else parameter.human_readable_name)
    return names
