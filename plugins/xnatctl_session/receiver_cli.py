"""`session upload` to a receiver: labels are not needed, and options of the import into XNAT are refused."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from xnatctl.api import UsageError
from xnatctl.api.commands import App, ProjectOption

#: Parameters that concern the session on an XNAT server, or the login there.
_OF_SESSIONS = (
    *("project", "subject", "session", "archive", "overwrite", "verify", "verify_level", "exact"),
    *("split_studies", "same_patient", "wait"),
    *("url", "username", "password", "password_stdin", "timeout", "insecure"),
)


class LabelOption(ProjectOption):
    """Required, unless the transport delivers to a receiver. `--mode` must be eager."""

    def value_is_missing(self, value: Any) -> bool:
        """Ask for the label where it names something."""
        return super().value_is_missing(value) and not _to_receiver(click.get_current_context())

    def takes_default(self, context: click.Context) -> bool:
        """Not for a receiver, which gets no labels."""
        return not _to_receiver(context)


def _to_receiver(context: click.Context) -> bool:
    app = context.find_object(App)
    if app is None or context.resilient_parsing:
        return False
    return app.registry.transport(context.params.get("mode") or str(app.settings.mode.value)).spec.settle == "none"


def refuse_options_of_sessions(context: click.Context, transport: str) -> None:
    """Raise UsageError for options on the command line that a receiver transport would ignore."""
    given = {
        option.name: _flag(option, context.params.get(option.name))
        for option in context.command.get_params(context)
        if option.name in _OF_SESSIONS
        and isinstance(option, click.Option)
        and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    }
    if "verify_level" in given:
        given.pop("verify", None)  # click gets `--verify LEVEL` as two options
    if given:
        *first, last = given.values()
        named = f"{', '.join(first)} and {last} do" if first else f"{last} does"
        raise UsageError(
            f"{named} not apply to --mode {transport}, which delivers to a receiver and not to a session of XNAT.",
            hint=f"Run the command without {'these options' if first else last}.",
        )


def _flag(option: click.Option, value: object) -> str:
    """The option as the user gave it."""
    if option.name == "verify_level":
        return f"--verify {value}"
    names = option.secondary_opts if option.secondary_opts and value is False else option.opts
    return "/".join(names) if len(names[0]) == 2 else names[0]
