"""Finds and loads plugins in three levels, so that a faulty one never blocks all commands.

Level 0 reads metadata only (`--version`, `plugins list`). Level 1 loads the pages of our own distribution (root
`--help`).
Level 2 loads all active pages, each isolated: errors and output of one become one warning. Installed means enabled.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import pluggy

from xnatctl.errors import XnatctlError
from xnatctl.plugin.guard import BLOCK_VARIABLE, PATIENT, Guard, module_of, reason_of
from xnatctl.plugin.hookspecs import PROJECT, XnatctlSpecs

#: Names of the hooks, for the spelling check.
HOOKS = tuple(sorted(name for name in vars(XnatctlSpecs) if name.startswith(f"{PROJECT}_")))

#: An implementation of a hook, called with the arguments of the hook by name.
Implementation = Callable[..., Any]

SAFE_VARIABLE = "XNATCTL_NO_EXTERNAL_PLUGINS"
#: The distribution that this package was installed as.
OURS = "xnatctl"


class Status(StrEnum):
    """State of a plugin. `unmet` = a module that all its specs need is absent."""

    ACTIVE = "active"
    BLOCKED = "blocked"
    BROKEN = "broken"
    UNMET = "unmet"
    INCOMPATIBLE = "incompatible"


@dataclass(kw_only=True, slots=True)
class Plugin:
    """One entry point. `ours` = of this distribution; `page` is the loaded module, None before."""

    name: str
    target: str
    distribution: str
    version: str
    ours: bool
    status: Status = Status.ACTIVE
    reason: str | None = None
    page: ModuleType | None = None

    @property
    def origin(self) -> str:
        """The distribution and version that it comes from, for messages."""
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Which plugins may be used. `allow` None = all; `external` False = safe mode."""

    block: frozenset[str] = frozenset()
    allow: frozenset[str] | None = None
    external: bool = True

    def verdict(self, plugin: Plugin) -> str | None:
        """Why a plugin is blocked, or None."""
        if plugin.name in self.block:
            return "blocked by name"
        if not self.external and not plugin.ours:
            return "external plugins are switched off"
        if self.allow is not None and plugin.name not in self.allow and not plugin.ours:
            return "not in the list of allowed plugins"
        return None


def policy_from(
    *,
    block: Iterable[str] = (),
    external: bool = True,
    configured: Callable[[], tuple[Sequence[str], Sequence[str] | None]],
) -> Policy:
    """The policy from flags, variables and the configuration file (`plugins.block`, `plugins.allow`)."""
    listed = [name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(",")]
    file_block, file_allow = configured()
    safe = os.environ.get(SAFE_VARIABLE, "").strip().lower() not in ("", "0", "false", "no")
    return Policy(
        block=frozenset(filter(None, [*block, *listed, *file_block])),
        allow=None if file_allow is None else frozenset(file_allow),
        external=external and not safe,
    )


def discover() -> list[Plugin]:
    """Level 0: all entry points of the group, sorted by name, without importing them.

    Duplicate names are kept; the clash is reported on use.
    """
    found: dict[tuple[str, str, str], Plugin] = {}
    for entry in entry_points(group=PROJECT):
        plugin = _describe(entry)
        found.setdefault((plugin.name, plugin.target, plugin.distribution), plugin)
    return sorted(found.values(), key=lambda plugin: (plugin.name, plugin.distribution))


def _describe(entry: EntryPoint) -> Plugin:
    distribution = entry.dist
    name = distribution.name if distribution is not None else "unknown"
    return Plugin(
        name=entry.name,
        target=entry.value,
        distribution=name,
        version=distribution.version if distribution is not None else "",
        ours=name == OURS and entry.value.startswith(f"{OURS}_"),
    )


class PluginManager:
    """The plugins of this process.

    `warn` gets one line for each that is broken, `guard` calls their code.
    """

    def __init__(
        self, policy: Policy, *, warn: Callable[[str], None] | None = None, guard: Guard | None = None
    ) -> None:
        self.guard = guard or Guard()
        self.policy = policy
        self._warn = warn or _ignore
        self._pluggy = pluggy.PluginManager(PROJECT)
        self._pluggy.add_hookspecs(XnatctlSpecs)
        self.plugins = discover()
        self.level = 0
        for plugin in self.plugins:
            if (reason := policy.verdict(plugin)) is not None:
                plugin.status, plugin.reason = Status.BLOCKED, reason

    def find(self, name: str) -> Plugin | None:
        """A plugin by its name."""
        return next((plugin for plugin in self.plugins if plugin.name == name), None)

    @property
    def active(self) -> list[Plugin]:
        """The loaded and working plugins, by name."""
        return [plugin for plugin in self.plugins if plugin.page is not None and plugin.status is Status.ACTIVE]

    def load(self, level: int) -> None:
        """Load pages up to a level: 1 ours, 2 all."""
        if level <= self.level:
            return
        self.level = level
        for plugin in self.plugins:
            if plugin.page is None and plugin.status is Status.ACTIVE and (plugin.ours or level >= 2):
                self.load_one(plugin)

    def load_one(self, plugin: Plugin) -> None:
        """Import and register one page; any error makes it `broken`."""
        try:
            with self.guard.around("The page", plugin, limit=PATIENT):
                page = module_of(plugin.target)
                _check_hooks(page)
                self._pluggy.register(page, name=f"{plugin.name} ({plugin.distribution})")
        except XnatctlError as error:
            self.mark_broken(plugin, reason_of(error))
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

    def mark_broken(self, plugin: Plugin, reason: str) -> None:
        """Disable a plugin, with one warning that says how to silence it."""
        plugin.status, plugin.reason = Status.BROKEN, " ".join(reason.split())
        if plugin.page is not None:
            with contextlib.suppress(ValueError, AssertionError):
                self._pluggy.unregister(plugin.page)
            plugin.page = None
        self._warn(
            f"Plugin {plugin.name} ({plugin.target}, from {plugin.origin}) is broken and was disabled: "
            f"{plugin.reason}. "
            f"Silence this with {BLOCK_VARIABLE}={plugin.name}."
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
