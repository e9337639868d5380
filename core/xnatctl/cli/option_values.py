"""The values of the options of plugins: flag, else variable, else profile, else default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from xnatctl.cli.usage import example_with
from xnatctl.errors import UsageError
from xnatctl.model.commands import ASK
from xnatctl.model.secret import Secret

if TYPE_CHECKING:
    from xnatctl.cli.app import App
    from xnatctl.model.plan import UploadRequest
    from xnatctl.plugin.specs import Option


def transport_options(app: App, name: str, given: Mapping[str, Any], *, missing: Sequence[str] = ()) -> dict[str, Any]:
    """A value for every option of the transport: flag, else variable, else profile, else default.

    `given` holds the flags from the command line, `missing` names what else the command lacks. Raises UsageError for an
    option that this transport does not have, and one that names all that is missing.
    """
    return plugin_options(app, app.registry.transport(name).spec.options, given, f"--mode {name}", missing)


def executor_options(app: App, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A value for every option of an executor, found and checked like those of a transport."""
    return plugin_options(app, app.registry.executor(name).spec.options, given, f"--executor {name}")


def plugin_options(
    app: App, declared: Sequence[Option], given: Mapping[str, Any], choice: str, others: Sequence[str] = ()
) -> dict[str, Any]:
    """A value for every declared option; `choice` is the flag that they depend on, `others` is missing as well.

    Raises UsageError for flags that are not declared, and for required options without a value.
    """
    options = {option.name: option for option in declared}
    for flag in given:
        if flag not in options:
            raise UsageError(f"--{flag.replace('_', '-')} does not apply to {choice}.")
    values = {key: option_value(app, option, given) for key, option in options.items()}
    require_values(declared, values, others)
    return values


def require_values(declared: Sequence[Option], values: Mapping[str, Any], others: Sequence[str] = ()) -> None:
    """Raise UsageError that names the required options without a value, and what else is missing."""
    missing = [option for option in declared if option.required and values[option.name] is None]
    if missing or others:
        flags = [f"--{option.name.replace('_', '-')}" for option in missing]
        names = [f"{flag} (or {o.envvar})" if o.envvar else flag for flag, o in zip(flags, missing, strict=True)]
        hints = [f"{flag}: {option.help}" for flag, option in zip(flags, missing, strict=True)]
        if (example := example_with(click.get_current_context(), [*others, *flags])) is not None:
            hints.append(example)
        raise UsageError(f"Missing: {', '.join([*others, *names])}.", hint=" ".join(hints))


def option_value(app: App, option: Option, given: Mapping[str, Any]) -> Any:
    """The value of one option; `given` holds the flags from the command line. Raises UsageError, ConfigError."""
    if option.name not in given:
        return app.settings.plugin_option(option)
    value = given[option.name]
    if not option.secret:
        return value
    flag = f"--{option.name.replace('_', '-')}"
    if value == ASK:
        return Secret(app.read_secret(flag))
    if not value:
        raise UsageError(f"{flag} is empty.")
    app.redactor.register_secret(value)
    other = f"; the variable {option.envvar} does not" if option.envvar else ""
    app.warn(f"{flag} shows in the process list of this machine{other}. {flag} {ASK} asks for the value.")
    return Secret(value)


def restored_options(app: App, request: UploadRequest) -> dict[str, Any]:
    """The options of a recorded request, with secret ones from variable or profile, or as the user types them.

    Raises UsageError that names a secret option without a value.
    """
    options = dict(request.options)
    provided = app.registry.transports().get(request.transport)
    for option in provided.spec.options if provided is not None else ():
        if not option.secret or options.get(option.name) is None:
            continue
        value = app.settings.plugin_option(option)
        if value is None and app.interactive:
            value = app.read_secret(option.name)
        if value is None:
            places = [f"the variable {option.envvar}"] if option.envvar else []
            places.append(f"{option.name} below options: of a profile")
            raise UsageError(
                f"The upload to resume has the option {option.name}, which is secret and not recorded.",
                hint=f"Set {' or '.join(places)}, or run the original upload command again.",
            )
        options[option.name] = Secret(value)
    return options
