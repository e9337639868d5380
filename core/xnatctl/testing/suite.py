"""Chooses the contract of everything that a plugin provides, for `plugins check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xnatctl.errors import NotFound, PluginUnavailable
from xnatctl.model.plan import Payload
from xnatctl.plugin.discovery import Plugin, Status
from xnatctl.plugin.manager import PluginManager
from xnatctl.plugin.policy import Policy
from xnatctl.plugin.registry import Registry
from xnatctl.plugin.specs import (
    CheckSpec,
    CommandSpec,
    CredentialSourceSpec,
    ExecutorSpec,
    FormatterSpec,
    ReportWriterSpec,
    Spec,
    StageSpec,
    TransportSpec,
)
from xnatctl.testing import contracts

#: Hooks that are called themselves -> kind, contract, and the attribute that holds the implementation.
_CALLED: dict[str, tuple[str, type[contracts.Contract], str]] = {
    "xnatctl_plan_upload": ("planner", contracts.PlannerContract, "planner"),
    "xnatctl_on_event": ("observer", contracts.ObserverContract, "observer"),
}


def contracts_of(name: str, distribution: str) -> dict[str, type[contracts.Contract]]:
    """The test class of everything that an installed plugin provides, by a title such as "transport series".

    The plugin is imported, and no other foreign one. Raises NotFound, and PluginUnavailable for one that is broken.
    """
    registry, plugin = _loaded(name, distribution)
    found = {
        f"{kind} {own.name}": _bound(contract_of(own.spec), spec=own.spec) for kind, own in registry.own_specs(plugin)
    }
    if plugin.status is Status.BROKEN:
        raise PluginUnavailable(plugin.reason or "it is broken")
    for hook, (kind, contract, attribute) in _CALLED.items():
        for own, implementation in registry.manager.implementations(hook):
            if own is plugin:
                found[kind] = _bound(contract, **{attribute: staticmethod(_by_name(plugin, hook, implementation))})
    return found


def contract_of(spec: Spec) -> type[contracts.Contract]:
    """The contract of a kind of spec."""
    if isinstance(spec, TransportSpec):
        if spec.payload is Payload.RESOURCE:
            return contracts.ResourceTransportContract
        return contracts.ReceiverTransportContract if spec.settle == "none" else contracts.TransportContract
    by_kind: dict[type[Any], type[contracts.Contract]] = {
        CredentialSourceSpec: contracts.CredentialSourceContract,
        FormatterSpec: contracts.FormatterContract,
        CommandSpec: contracts.CommandContract,
        CheckSpec: contracts.CheckContract,
        StageSpec: contracts.StageContract,
        ExecutorSpec: contracts.ExecutorContract,
        ReportWriterSpec: contracts.ReportWriterContract,
    }
    return by_kind[type(spec)]


def _bound(contract: type[contracts.Contract], **attributes: Any) -> type[contracts.Contract]:
    return type("TestContract", (contract,), {"examples": False, **attributes})


def _by_name(plugin: Plugin, hook: str, implementation: Callable[..., Any]) -> Callable[..., Any]:
    """The function of the page itself, whose parameters tell what it is called with."""
    function: Callable[..., Any] = getattr(plugin.page, hook, implementation)
    return function


def _loaded(name: str, distribution: str) -> tuple[Registry, Plugin]:
    registry = Registry(PluginManager(Policy()))
    found = [p for p in registry.manager.plugins if p.name == name and p.distribution == distribution]
    if not found:
        raise NotFound(f"There is no plugin {name} of {distribution}.")
    plugin = found[0]
    registry.manager.load_one(plugin)
    if plugin.status is Status.BROKEN:
        raise PluginUnavailable(plugin.reason or "it is broken")
    return registry, plugin
