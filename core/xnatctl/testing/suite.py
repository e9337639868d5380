"""Chooses the contract of everything that a plugin provides, for `plugins check`."""

from __future__ import annotations

from typing import Any

from xnatctl.errors import NotFound, PluginUnavailable
from xnatctl.plugin.discovery import Plugin, Status
from xnatctl.plugin.manager import PluginManager
from xnatctl.plugin.policy import Policy
from xnatctl.plugin.registry import Registry
from xnatctl.testing.contracts import contract_of


def _loaded(name: str, distribution: str) -> tuple[Registry, Plugin]:
    """The plugin, imported; every other foreign one is left alone. Raises PluginUnavailable."""
    registry = Registry(PluginManager(Policy()))
    found = [p for p in registry.manager.plugins if p.name == name and p.distribution == distribution]
    if not found:
        raise NotFound(f"There is no plugin {name} of {distribution}.")
    plugin = found[0]
    registry.manager.load_one(plugin)
    if plugin.status is not Status.BROKEN:
        registry.own_specs(plugin)
    if plugin.status is Status.BROKEN:
        raise PluginUnavailable(plugin.reason or "it is broken")
    return registry, plugin


def titles_of(name: str, distribution: str) -> list[str]:
    """What a plugin provides and a contract exists for, such as "transport series"."""
    return list(_contracts(name, distribution))


def contract_for(name: str, distribution: str, title: str) -> type[Any]:
    """The test class for one of `titles_of`."""
    return _contracts(name, distribution)[title]


def _contracts(name: str, distribution: str) -> dict[str, type[Any]]:
    registry, plugin = _loaded(name, distribution)
    found = {f"{kind} {own.name}": contract_of(own.spec) for kind, own in registry.own_specs(plugin)}
    return {title: contract for title, contract in found.items() if contract is not None}
