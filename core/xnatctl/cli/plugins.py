"""`plugins list | show | block | unblock`: works in any state of the plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from xnatctl.cli.app import App, pass_app
from xnatctl.cli.list_options import list_options
from xnatctl.cli.options import common_options
from xnatctl.cli.suggest import among
from xnatctl.errors import ConfigError, NotFound, PluginUnavailable
from xnatctl.model.document import Column, Document
from xnatctl.plugin.catalog import KINDS
from xnatctl.plugin.discovery import UNUSABLE, Plugin
from xnatctl.plugin.manager import HOOKS
from xnatctl.plugin.policy import IN_FILE, covers, means
from xnatctl.plugin.specs import CredentialSourceSpec
from xnatctl.settings.config import edit_config, plugin_lists
from xnatctl.settings.profiles import DEFAULT_MODE

_COLUMNS = (
    Column(key="name"),
    Column(key="status"),
    Column(key="distribution", drop=2),
    Column(key="version", drop=3),
    Column(key="provides", fit="wrap"),
    Column(key="reason", fit="wrap", drop=1),
)


def _row(app: App, plugin: Plugin) -> dict[str, Any]:
    """What is known of a plugin; `provides` is None for one that was not loaded."""
    status, reason = app.registry.state_of(plugin)
    found = [f"{kind} {own.name}" for kind, own in app.registry.own_specs(plugin)]
    return {
        "name": plugin.name,
        "status": str(status),
        "distribution": plugin.distribution,
        "version": plugin.version,
        "target": plugin.target,
        "provides": found if found or plugin.page is not None else None,
        "reason": reason,
    }


def _source_options(app: App, plugin: Plugin) -> Iterator[str]:
    """The options of credential sources: keys of a profile, and variables. No help of a command shows them."""
    for _, own in app.registry.own_specs(plugin):
        if isinstance(own.spec, CredentialSourceSpec):
            for option in own.spec.options:
                variable = f" or {option.envvar}" if option.envvar else ""
                yield f"credentials.{own.name}.{option.name}{variable}: {option.help}"


def _by_kind(provides: Iterable[str]) -> str:
    """`transports tar, zip; command session upload`."""
    kinds: dict[str, list[str]] = {}
    for entry in provides:
        kind = next(kind for _, kind in KINDS.values() if entry.startswith(f"{kind} "))
        kinds.setdefault(kind, []).append(entry.removeprefix(f"{kind} "))
    return "; ".join(f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names)}" for kind, names in kinds.items())


def _find(app: App, name: str) -> Plugin:
    plugin = app.registry.manager.find(name)
    if plugin is None:
        known = [plugin.name for plugin in app.registry.manager.plugins]
        raise NotFound(f"There is no plugin {name!r}.", hint=among(name, known))
    return plugin


@click.command(name="list", help="List plugins and their state. Only those that come with xnatctl are imported.")
@click.option("--check", is_flag=True, help="Import everything, to find what is broken; exit code 8 if anything is.")
@list_options(_COLUMNS)
@common_options
@pass_app
def list_plugins(app: App, check: bool) -> None:
    """Read only the metadata of third-party plugins (level 1), unless `--check` is given."""
    manager = app.registry.manager
    if check:
        app.registry.check()
    else:
        manager.load(1)
    rows = [_row(app, plugin) for plugin in manager.plugins]
    schema = "xnatctl.plugins/1"
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "plugins": rows},
            listed="plugins",
            columns=_COLUMNS,
            rows=[{**row, "provides": _by_kind(row["provides"] or ())} for row in rows],
            identifiers=tuple(str(row["name"]) for row in rows),
        )
    )
    if check and any(row["status"] in UNUSABLE for row in rows):
        app.exit_with(PluginUnavailable.exit_code)


@click.command(help="Show what one plugin provides and which hooks it implements; imports all active plugins.")
@click.argument("name")
@common_options
@pass_app
def show(app: App, name: str) -> None:
    """Do not import a blocked plugin. The others are imported, because a plugin may clash with one of them."""
    plugin = _find(app, name)
    app.registry.check()
    row = _row(app, plugin)
    manager = app.registry.manager
    row["hooks"] = [hook for hook in HOOKS if plugin in [own for own, _ in manager.implementations(hook)]]
    row["options"] = list(_source_options(app, plugin))
    schema = "xnatctl.plugin/1"
    pairs = [
        {"key": "" if number else key, "value": value}
        for key, values in row.items()
        for number, value in enumerate(values if isinstance(values, list) else [values])
        if value
    ]
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, **row},
            columns=(Column(key="key"), Column(key="value")),
            rows=pairs,
            identifiers=(name,),
        )
    )


@click.command(help="Stop using a plugin: adds its name to the configuration file.")
@click.argument("name", metavar="[DISTRIBUTION:]NAME")
@common_options
@pass_app
def block(app: App, name: str) -> None:
    """Refuse a name that is not installed, which is probably a typing error."""
    _find(app, name)
    manager = app.registry.manager
    manager.load(1)
    lost = [row for plugin in manager.plugins if means(name, plugin) for row in _row(app, plugin)["provides"] or ()]
    _edit(app, name, "blocked", lambda blocked: [*blocked, name] if name not in blocked else blocked)
    if lost:
        app.warn(f"These are no longer available: {_by_kind(lost)}.")
    mode = f"transport {_mode(app)}"
    if mode in lost:
        app.warn(
            f"session upload uses the {mode} by default. Name another one with --mode, or with mode: of a profile, or "
            f"undo this with: xnatctl plugins unblock {name}"
        )


def _mode(app: App) -> str:
    """The transport that `session upload` uses without `--mode`; core's default if the settings are not valid."""
    try:
        return str(app.settings.mode.value)
    except ConfigError:
        return DEFAULT_MODE


@click.command(help="Use a blocked plugin again, also one that is not installed now.")
@click.argument("name", metavar="[DISTRIBUTION:]NAME")
@common_options
@pass_app
def unblock(app: App, name: str) -> None:
    """Remove the name from the configuration file; variables and flags are not changed."""
    blocked, _ = plugin_lists()
    mine = [entry for entry in blocked if covers(name, entry)]
    if not mine:
        plugin = _find(app, name)
        wider = [entry for entry in blocked if means(entry, plugin)]
        if wider:
            raise NotFound(
                f"{name} is not blocked by this name.", hint=f"It is blocked as: xnatctl plugins unblock {wider[0]}"
            )
    _edit(app, name, "unblocked", lambda entries: [entry for entry in entries if entry not in mine])
    for entry, place in app.registry.manager.policy.block.items():
        if place != IN_FILE and covers(name, entry):
            app.warn(f"{entry} is still blocked by {place}.")


def _edit(app: App, name: str, done: str, change: Callable[[list[str]], list[str]]) -> None:
    def edit(document: dict[str, Any]) -> None:
        plugins = document.get("plugins") or {}
        document["plugins"] = plugins
        plugins["block"] = change(list(plugins.get("block") or []))

    file = edit_config(edit)
    schema = "xnatctl.plugin-block/1"
    row = {"name": name, "state": done, "file": str(file)}
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, **row},
            columns=tuple(Column(key=key) for key in row),
            rows=[row],
            identifiers=(name,),
        )
    )
