"""Values that a shell completes: transports, formats, profiles, plugins, projects, subjects and sessions.

What a server lists is kept for some minutes, because a shell asks at each press of the tab key. A completion never
prompts, prints nothing, and has no values where something fails.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import click

from xnatctl.cli.app import App
from xnatctl.errors import XnatctlError
from xnatctl.model.plan import Payload

if TYPE_CHECKING:
    from xnatctl.xnat.client import XnatClient

#: The variable with which the script of a shell asks for values, as click names it.
VARIABLE: Final = "_XNATCTL_COMPLETE"
#: Seconds for which the values of a server are kept.
_KEPT: Final = 300.0
#: Time limit of a request, in seconds: a person waits at the terminal.
_PATIENCE: Final = 3.0
#: A list that is longer is of no help in a terminal.
_MOST: Final = 2000
#: Options that decide which server is asked.
SERVER_OPTIONS: Final = frozenset({"url", "profile", "username", "insecure"})

Completer = Callable[[click.Context, click.Parameter, str], list[str]]
Values = Callable[[App, click.Context], Iterable[str]]


def is_completing() -> bool:
    """Whether a shell asks for values, so that no command runs."""
    return VARIABLE in os.environ


def _completer(values: Values) -> Completer:
    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        app = context.find_object(App)
        if app is None:
            return []
        try:
            return sorted(value for value in values(app, context) if value.startswith(incomplete))[:_MOST]
        except (XnatctlError, OSError, ValueError, KeyError, TypeError):
            return []

    return complete


def _transports(app: App, context: click.Context) -> Iterable[str]:
    payload = getattr(context.command, "payload", Payload.DICOM)
    specs = [provided.spec for provided in app.registry.transports().values()]
    return [spec.name for spec in specs if spec.payload is payload and spec.command is None]


def _formats(app: App, context: click.Context) -> Iterable[str]:
    return list(app.registry.formatters())


def _plugins(app: App, context: click.Context) -> Iterable[str]:
    return [plugin.name for plugin in app.registry.manager.plugins]


def _profiles(app: App, context: click.Context) -> Iterable[str]:
    from xnatctl.settings.config import load_config

    return list(load_config().get("profiles") or {})


def _projects(app: App, context: click.Context) -> Iterable[str]:
    return _asked(app, "projects", lambda client: [row["ID"] for row in client.table("/data/projects")])


def _project(app: App, context: click.Context) -> str:
    return str(context.params.get("project") or app.settings.default_project.value or "")


def _subjects(app: App, context: click.Context) -> Iterable[str]:
    from xnatctl.xnat.listing import subjects

    project = _project(app, context)
    return _asked(app, f"subjects {project}", lambda client: [each.label for each in subjects(client, project)])


def _sessions(app: App, context: click.Context) -> Iterable[str]:
    from xnatctl.xnat.listing import sessions

    project = _project(app, context)
    return _asked(app, f"sessions {project}", lambda client: [each.label for each in sessions(client, project)])


def _asked(app: App, what: str, ask: Callable[[XnatClient], list[str]]) -> Iterable[str]:
    """The values that a server lists, or what it listed some minutes ago."""
    import hashlib

    from xnatctl.settings.paths import PrivateFolder

    folder = PrivateFolder("completion")
    place = json.dumps([app.settings.server(), app.settings.username.value, what])
    name = f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.json"
    if (text := folder.read(name)) is not None:
        kept = json.loads(text)
        if 0 <= time.time() - kept["time"] < _KEPT:
            return [str(value) for value in kept["values"]]
    app.given.setdefault("timeout", _PATIENCE)
    app.given["retry_for"] = 0.0
    try:
        values = sorted(ask(app.connect(prompts=False)))
    except XnatctlError:
        values = []  # kept as well: XNAT locks an account after some wrong logins
    folder.write(name, json.dumps({"time": time.time(), "values": values}))
    return values


#: What is completed, by the name of an option or argument in any command.
_BY_NAME: Final[dict[str, Values]] = {
    "project": _projects,
    "subject": _subjects,
    "session": _sessions,
    "mode": _transports,
    "output": _formats,
    "profile": _profiles,
}
#: The same for one argument of some commands.
_BY_COMMAND: Final[dict[str, Values]] = {
    "plugins show": _plugins,
    "plugins block": _plugins,
    "plugins unblock": _plugins,
    "config use": _profiles,
    "config set-profile": _profiles,
    "config remove-profile": _profiles,
    "session show": _sessions,
}


def complete_values(command: click.Command, path: str) -> None:
    """Let the options and arguments of a command be completed, except those that do it themselves."""
    for parameter in command.params:
        values = _BY_NAME.get(parameter.name or "")
        if values is None and isinstance(parameter, click.Argument) and not isinstance(parameter.type, click.Path):
            values = _BY_COMMAND.get(path)
        if values is not None and parameter._custom_shell_complete is None:  # noqa: SLF001 - click has no other way
            parameter._custom_shell_complete = _completer(values)  # noqa: SLF001
