"""What the plugins register, by kind and name: every name belongs to one plugin."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from xnatctl.errors import XnatctlError
from xnatctl.plugin.clashes import Taken, clashes, names_of
from xnatctl.plugin.discovery import Plugin, Status
from xnatctl.plugin.guard import QUICK, reason_of
from xnatctl.plugin.manager import PluginManager
from xnatctl.plugin.specs import (
    CheckSpec,
    CommandSpec,
    CredentialSourceSpec,
    ExecutorSpec,
    FormatterSpec,
    Option,
    ReportWriterSpec,
    Spec,
    StageSpec,
    TransportSpec,
)

S = TypeVar("S", bound=Spec)

#: Register hook -> (kind of spec, what it is called in messages).
KINDS: Mapping[str, tuple[type[Any], str]] = {
    "xnatctl_transports": (TransportSpec, "transport"),
    "xnatctl_credential_sources": (CredentialSourceSpec, "credential source"),
    "xnatctl_formatters": (FormatterSpec, "output format"),
    "xnatctl_commands": (CommandSpec, "command"),
    "xnatctl_checks": (CheckSpec, "check"),
    "xnatctl_stages": (StageSpec, "stage"),
    "xnatctl_executors": (ExecutorSpec, "executor"),
    "xnatctl_report_writers": (ReportWriterSpec, "report writer"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Provided(Generic[S]):
    """A spec and its plugin. `missing` names required modules that are absent."""

    spec: S
    plugin: Plugin
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name in messages."""
        return " ".join(self.spec.path.split()) if isinstance(self.spec, CommandSpec) else self.spec.name

    @property
    def kind(self) -> str:
        """What it is, in messages."""
        return next(name for spec, name in KINDS.values() if isinstance(self.spec, spec))

    @property
    def status(self) -> Status:
        """`unmet` when a module is absent."""
        return Status.UNMET if self.missing else Status.ACTIVE


#: What is registered: hook -> name -> spec and plugin.
Tables = Mapping[str, Mapping[str, Provided[Any]]]


class Catalog:
    """Asks each plugin once for all that it registers.

    A plugin whose hook fails is `broken`, one that takes a name of another is `clash`; none of its specs counts.
    `reserved` are the names of core by kind, `secret` gets every secret option.
    """

    def __init__(
        self,
        manager: PluginManager,
        reserved: Mapping[str, Collection[str]],
        secret: Callable[[Option], None],
    ) -> None:
        self._manager = manager
        self._reserved = reserved
        self._secret = secret
        self._own: dict[Plugin, tuple[dict[str, list[Provided[Any]]], list[Taken]]] = {}
        self._tables: dict[int, Tables] = {}

    def tables(self, level: int) -> Tables:
        """What plugins of a level register: 1 only ours, 2 all."""
        self._manager.load(level)
        if level not in self._tables:
            for plugin in list(self._manager.active):
                if plugin.ours or level >= 2:
                    self._asked(plugin)
            if level >= 2:
                taken = [entry for _, names in self._own.values() for entry in names]
                for plugin, reason in clashes(taken, self._reserved):
                    self._manager.disable(plugin, Status.CLASH, reason)
            self._tables[level] = {hook: self._table(hook, level) for hook in KINDS}
        return self._tables[level]

    def _table(self, hook: str, level: int) -> dict[str, Provided[Any]]:
        usable = [p for p in self._own if p.status is Status.ACTIVE and (p.ours or level >= 2)]
        found = {entry.name: entry for plugin in usable for entry in self._own[plugin][0].get(hook, ())}
        return dict(sorted(found.items()))

    def of(self, plugin: Plugin) -> list[Provided[Any]]:
        """Everything that one loaded plugin registers, or registered before it was disabled; loads no other plugin."""
        if plugin.page is None and plugin not in self._own:
            return []
        return [entry for entries in self._asked(plugin).values() for entry in entries]

    def taken_by(self, kind: str, name: str) -> Plugin | None:
        """The plugin that would provide a name, if it was not disabled by a clash."""
        for plugin, (_, names) in self._own.items():
            if plugin.status is Status.CLASH and any((entry.kind, entry.name) == (kind, name) for entry in names):
                return plugin
        return None

    def _asked(self, plugin: Plugin) -> dict[str, list[Provided[Any]]]:
        if plugin not in self._own:
            try:
                found = {hook: self._ask(plugin, hook) for hook in KINDS}
            except XnatctlError as error:
                self._manager.disable(plugin, Status.BROKEN, reason_of(error))
                self._own[plugin] = ({}, [])
                return {}
            taken = [entry for _, names in found.values() for entry in names]
            self._own[plugin] = ({hook: provided for hook, (provided, _) in found.items()}, taken)
        return self._own[plugin][0]

    def _ask(self, plugin: Plugin, hook: str) -> tuple[list[Provided[Any]], list[Taken]]:
        """One plugin's specs of one kind. Raises PluginUnavailable for anything but specs."""
        own = [call for provider, call in self._manager.implementations(hook) if provider is plugin]
        if not own:
            return [], []
        kind, word = KINDS[hook]
        with self._manager.guard.around(f"The hook {hook}", plugin, limit=QUICK):
            specs = [spec for call in own for spec in call()]
            for spec in specs:
                if not isinstance(spec, kind):
                    raise TypeError(f"{hook} returned {type(spec).__name__} instead of {kind.__name__}")
            taken = list(names_of(word, specs, plugin))
            provided = [Provided(spec=spec, plugin=plugin, missing=_missing(spec.modules)) for spec in specs]
            options = [option for spec in specs for option in getattr(spec, "options", ())]
        for record in (*specs, *options):
            for field in record.unknown:
                self._manager.warn(
                    f"Plugin {plugin.name} ({plugin.origin}) sets {type(record).__name__}.{field}, which this version "
                    "of xnatctl does not know and ignores."
                )
        for option in options:
            if option.secret:
                self._secret(option)
        return provided, taken


def _missing(modules: Iterable[str]) -> tuple[str, ...]:
    """Modules that cannot be found; none is imported."""
    absent = []
    for module in modules:
        try:
            found = importlib.util.find_spec(module) is not None
        except (ImportError, ValueError):
            found = False
        if not found:
            absent.append(module)
    return tuple(absent)
