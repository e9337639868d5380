"""Loads plugins in three levels, so that a faulty one never blocks all commands.

Level 0 reads metadata only (`plugins list`). Level 1 loads the pages of our own distribution (root `--help`).
Level 2 loads all active pages, each isolated: errors and output of one become one warning. Installed means enabled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pluggy

from xnatctl.errors import XnatctlError
from xnatctl.plugin.compatibility import api_mismatch
from xnatctl.plugin.discovery import FOLDER_VARIABLE, Plugin, Status, discover, plugin_folder
from xnatctl.plugin.guard import BLOCK_VARIABLE, PATIENT, Guard, module_of, reason_of
from xnatctl.plugin.hookspecs import PROJECT, XnatctlSpecs
from xnatctl.plugin.policy import Policy, means
from xnatctl.plugin.source import declared_commands, read_page

#: Names of the hooks, for the spelling check.
HOOKS = tuple(sorted(name for name in vars(XnatctlSpecs) if name.startswith(f"{PROJECT}_")))

#: An implementation of a hook, called with the arguments of the hook by name.
Implementation = Callable[..., Any]

_DISABLED = {Status.BROKEN: "is broken", Status.CLASH: "clashes with another", Status.INCOMPATIBLE: "is incompatible"}


class PluginManager:
    """The plugins of this process.

    `warn` gets one line for each that is broken, `guard` calls their code.
    """

    def __init__(
        self, policy: Policy, *, warn: Callable[[str], None] | None = None, guard: Guard | None = None
    ) -> None:
        self.guard = guard or Guard()
        self.policy = policy
        self.warn = warn or _ignore
        self._pluggy = pluggy.PluginManager(PROJECT)
        self._pluggy.add_hookspecs(XnatctlSpecs)
        self.plugins = discover()
        self.level = 0
        for plugin in self.plugins:
            if (reason := policy.verdict(plugin)) is not None:
                plugin.disable(Status.BLOCKED, reason)
        self._disable_namesakes()
        folder = plugin_folder()
        if folder is not None and not folder.is_dir():
            self.warn(f"{FOLDER_VARIABLE} names {folder}, which is not a folder; no plugin of it is used.")

    def _disable_namesakes(self) -> None:
        """Two entry points of one name: ours is used, and of others none."""
        usable = [plugin for plugin in self.plugins if plugin.status is Status.ACTIVE]
        for plugin in usable:
            others = [other for other in usable if other.name == plugin.name and other is not plugin]
            if others and not plugin.ours:
                ours = [other for other in others if other.ours]
                owner = (ours or others)[0].origin
                said = f"belongs to {owner}" if ours else f"is also that of {owner}; block one of the two"
                plugin.disable(Status.CLASH, f"its name {plugin.name} {said}")

    def find(self, entry: str) -> Plugin | None:
        """A plugin by `NAME` or `DISTRIBUTION:NAME`. Of several of one name, ours or the one that is used."""
        found = [plugin for plugin in self.plugins if means(entry, plugin)]
        return min(found, key=lambda plugin: (plugin.status is Status.CLASH, not plugin.ours), default=None)

    def reference(self, plugin: Plugin) -> str:
        """What `plugins block` calls a plugin: its name, with the distribution where others have the same name."""
        alone = sum(other.name == plugin.name for other in self.plugins) == 1
        return plugin.name if alone else f"{plugin.distribution}:{plugin.name}"

    @property
    def active(self) -> list[Plugin]:
        """The loaded and working plugins, by name."""
        return [plugin for plugin in self.plugins if plugin.page is not None and plugin.status is Status.ACTIVE]

    def declared_commands(self) -> dict[str, str]:
        """Path and summary of commands of third-party plugins, read from their source; no page is imported."""
        found: dict[str, str] = {}
        for plugin in self.plugins:
            if not plugin.ours and plugin.status is Status.ACTIVE:
                found = {**declared_commands(read_page(plugin.target)), **found}
        return found

    def load(self, level: int) -> None:
        """Load pages up to a level: 1 ours, 2 all. Level 2 warns of plugins that were disabled before."""
        if level <= self.level:
            return
        self.level = level
        for plugin in self.plugins:
            if plugin.page is None and plugin.status is Status.ACTIVE and (plugin.ours or level >= 2):
                self.load_one(plugin)
            elif plugin.status in _DISABLED and level >= 2:
                self._warn_disabled(plugin)

    def load_one(self, plugin: Plugin) -> None:
        """Import and register one page; any error makes it `broken`, another API version `incompatible`."""
        try:
            with self.guard.around("The page", plugin, limit=PATIENT):
                page = module_of(plugin.target)
                reason = api_mismatch(getattr(page, "requires_api", None))
                if reason is None:
                    _check_hooks(page)
                    self._pluggy.register(page, name=f"{plugin.name} ({plugin.distribution})")
        except XnatctlError as error:
            self.disable(plugin, Status.BROKEN, reason_of(error))
            return
        if reason is not None:
            self.disable(plugin, Status.INCOMPATIBLE, reason)
            return
        plugin.page = page

    def implementations(self, hook: str) -> list[tuple[Plugin, Implementation]]:
        """Every implementation of a hook by a working plugin, in the order in which they are called.

        As pluggy documents it, `tryfirst` come before the others and `trylast` after them; within each group the names
        of the plugins decide, so that the order is the same everywhere.
        """
        found = [
            (plugin, impl)
            for plugin in self.active
            for impl in getattr(self._pluggy.hook, hook).get_hookimpls()
            if impl.plugin is plugin.page
        ]
        found.sort(key=lambda pair: pair[1].trylast - pair[1].tryfirst)
        return [(plugin, _calling(impl)) for plugin, impl in found]

    def disable(self, plugin: Plugin, status: Status, reason: str) -> None:
        """Disable a plugin, with one warning that says how to silence it."""
        if plugin.page is not None:
            with contextlib.suppress(ValueError, AssertionError):
                self._pluggy.unregister(plugin.page)
        plugin.disable(status, reason)
        self._warn_disabled(plugin)

    def _warn_disabled(self, plugin: Plugin) -> None:
        self.warn(
            f"Plugin {plugin.name} ({plugin.target}, from {plugin.origin}) {_DISABLED[plugin.status]} and was "
            f"disabled: {plugin.reason}. Silence this with {BLOCK_VARIABLE}={self.reference(plugin)}."
        )


def _ignore(line: str) -> None:
    """The default for callers without warnings."""


def _calling(impl: pluggy.HookImpl) -> Implementation:
    """Call an implementation with the arguments that it declares."""

    def call(**arguments: Any) -> Any:
        return impl.function(*(arguments[name] for name in impl.argnames))

    return call


def _check_hooks(page: ModuleType) -> None:
    """Raise an error for a misspelt hook, which would be ignored otherwise."""
    for attribute, value in vars(page).items():
        marked = callable(value) and hasattr(value, f"{PROJECT}_impl")
        options = getattr(value, f"{PROJECT}_impl") if marked else {}
        name = options.get("specname") or attribute
        if options.get("wrapper") or options.get("hookwrapper"):
            raise AttributeError(f"{attribute} is a wrapper around other plugins, which no hook of {PROJECT} takes")
        if options.get("optionalhook") and name not in HOOKS:
            continue
        if (marked or (callable(value) and name.startswith(f"{PROJECT}_"))) and name not in HOOKS:
            import difflib

            close = difflib.get_close_matches(name, HOOKS, n=1)
            raise AttributeError(f"there is no hook {name}" + (f"; did you mean {close[0]}?" if close else ""))
        if name in HOOKS and callable(value) and not marked:
            raise AttributeError(f"{name} is not marked with @hookimpl")
