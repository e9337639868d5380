"""`plugins list | show | block | unblock`: works in any state of the plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from xnatctl.cli.app import App, pass_app
from xnatctl.cli.options import common_options
from xnatctl.cli.suggest import among
from xnatctl.errors import NotFound
from xnatctl.model.document import Column, Document
from xnatctl.plugin.manager import HOOKS, Plugin, Status
from xnatctl.settings.config import edit_config

_COLUMNS = (
    Column(key="name"),
    Column(key="status"),
    Column(key="distribution", drop=2),
    Column(key="version", drop=3),
    Column(key="provides", fit="wrap"),
    Column(key="reason", fit="wrap", drop=1),
)


def _row(plugin: Plugin, provides: list[tuple[str, str]] | None) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "status": str(plugin.status),
        "distribution": plugin.distribution,
        "version": plugin.version,
        "target": plugin.target,
        "provides": None if provides is None else [f"{kind} {name}" for kind, name in provides],
        "reason": plugin.reason,
    }


def _provides(app: App, plugin: Plugin) -> list[tuple[str, str]] | None:
    """What a loaded plugin provides, as (kind, name); None for one that was not loaded."""
    if plugin.page is None:
        return None
    found = app.registry.own_specs(plugin)
    if found and all(provided.missing for _, provided in found):
        plugin.status = Status.UNMET
        plugin.reason = f"needs {', '.join(sorted({name for _, p in found for name in p.missing}))}"
    return [(kind, provided.name) for kind, provided in found]


def _by_kind(provides: Iterable[tuple[str, str]]) -> str:
    """`transports tar, zip; command session upload`."""
    kinds: dict[str, list[str]] = {}
    for kind, name in provides:
        kinds.setdefault(kind, []).append(name)
    return "; ".join(f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names)}" for kind, names in kinds.items())


def _find(app: App, name: str) -> Plugin:
    plugin = app.registry.manager.find(name)
    if plugin is None:
        known = [plugin.name for plugin in app.registry.manager.plugins]
        raise NotFound(f"There is no plugin {name!r}.", hint=among(name, known))
    return plugin


@click.command(name="list", help="List plugins and their state. Only those that come with xnatctl are imported.")
@click.option("--check", is_flag=True, help="Import the others too, to find broken ones.")
@common_options
@pass_app
def list_plugins(app: App, check: bool) -> None:
    """Read only the metadata of third-party plugins (level 1), unless `--check` is given."""
    manager = app.registry.manager
    manager.load(2 if check else 1)
    found = [(plugin, _provides(app, plugin)) for plugin in manager.plugins]
    rows = [_row(plugin, provides) for plugin, provides in found]
    schema = "xnatctl.plugins/1"
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "plugins": rows},
            columns=_COLUMNS,
            rows=[{**row, "provides": _by_kind(own or ())} for row, (_, own) in zip(rows, found, strict=True)],
            identifiers=tuple(str(row["name"]) for row in rows),
        )
    )


@click.command(help="Show what one plugin provides and which hooks it implements; imports it.")
@click.argument("name")
@common_options
@pass_app
def show(app: App, name: str) -> None:
    """Do not import a blocked plugin."""
    plugin = _find(app, name)
    if plugin.status is Status.ACTIVE and plugin.page is None:
        app.registry.manager.load_one(plugin)
    row = _row(plugin, _provides(app, plugin))
    manager = app.registry.manager
    row["hooks"] = [hook for hook in HOOKS if plugin in [own for own, _ in manager.implementations(hook)]]
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
@click.argument("name")
@common_options
@pass_app
def block(app: App, name: str) -> None:
    """Refuse a name that is not installed, which is probably a typing error."""
    _find(app, name)
    _edit(app, name, lambda blocked: [*blocked, name] if name not in blocked else blocked, "blocked")


@click.command(help="Use a blocked plugin again.")
@click.argument("name")
@common_options
@pass_app
def unblock(app: App, name: str) -> None:
    """Remove the name from the configuration file; variables and flags are not changed."""
    _find(app, name)
    _edit(app, name, lambda blocked: [other for other in blocked if other != name], "unblocked")


def _edit(app: App, name: str, change: Callable[[list[str]], list[str]], done: str) -> None:
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
