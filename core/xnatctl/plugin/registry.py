"""What the plugins provide, by kind and name."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from xnatctl.errors import PluginUnavailable, UsageError, XnatctlError
from xnatctl.model.events import Event
from xnatctl.model.plan import UploadPlan, UploadRequest
from xnatctl.plugin.guard import BLOCK_VARIABLE, PATIENT, QUICK, attribute_of, module_of, reason_of
from xnatctl.plugin.guarded import Guarded, GuardedFormatter, GuardedSource, guarded_receiver, guarded_transport
from xnatctl.plugin.manager import Implementation, Plugin, PluginManager, Status
from xnatctl.plugin.protocols import Transport, TransportContext
from xnatctl.plugin.specs import (
    CheckSpec,
    CommandSpec,
    CredentialSourceSpec,
    FormatterSpec,
    Option,
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
        return self.spec.path if isinstance(self.spec, CommandSpec) else self.spec.name

    @property
    def status(self) -> Status:
        """`unmet` when a module is absent."""
        return Status.UNMET if self.missing else Status.ACTIVE


class Registry:
    """Typed look-ups over the loaded plugins. Register hooks are called once per plugin, each on its own."""

    def __init__(
        self,
        manager: PluginManager,
        *,
        plan_last: Callable[[UploadRequest], UploadPlan] | None = None,
        check_plan: Callable[[UploadPlan, UploadRequest, str], UploadPlan] | None = None,
        debug: Callable[[str], None] | None = None,
        secret: Callable[[Option], None] | None = None,
    ) -> None:
        self.manager = manager
        self.guard = manager.guard
        self._plan_last = plan_last
        self._check_plan = check_plan
        self._debug = debug or _ignore
        self._secret = secret or _ignore
        self._provided: dict[tuple[str, int], dict[str, list[Provided[Any]]]] = {}
        self._deaf: set[str] = set()
        #: The store of each observer.
        self._stores: dict[str, dict[str, Any]] = {}
        self._observers: tuple[int, list[tuple[Plugin, Implementation]]] | None = None

    # look-ups

    def transports(self) -> dict[str, Provided[TransportSpec]]:
        """Transports by name."""
        return self._unique("xnatctl_transports")

    def transport(self, name: str) -> Provided[TransportSpec]:
        """One transport. Raises UsageError for an unknown name, PluginUnavailable for a blocked or ambiguous one."""
        return self._one("xnatctl_transports", name)

    def formatters(self) -> dict[str, Provided[FormatterSpec]]:
        """Formatters by name."""
        return self._unique("xnatctl_formatters")

    def formatter(self, name: str) -> Provided[FormatterSpec]:
        """One formatter; raises like `transport`.

        Third-party plugins are loaded only if ours do not provide it, so that `plugins list` and `plugins block` always
        work.
        """
        if self.manager.level < 2 and len(own := self._collect("xnatctl_formatters", 1).get(name, [])) == 1:
            return own[0]
        return self._one("xnatctl_formatters", name)

    def credential_sources(self) -> list[Provided[CredentialSourceSpec]]:
        """Credential sources in the order in which they are asked. Raises PluginUnavailable for an ambiguous name."""
        hook = "xnatctl_credential_sources"
        found: list[Provided[CredentialSourceSpec]] = [self._one(hook, name) for name in self._collect(hook)]
        return sorted(found, key=lambda provided: (provided.spec.order, provided.name))

    def commands(self, *, level: int = 2) -> dict[str, Provided[CommandSpec]]:
        """Commands by path; for an ambiguous path the first, which refuses to run. `level` 1: only ours."""
        return {path: entries[0] for path, entries in self._collect("xnatctl_commands", level).items()}

    def command(self, path: str) -> Provided[CommandSpec]:
        """One command; raises like `transport`. For a command of ours no third-party plugin is loaded."""
        if self.manager.level < 2 and len(own := self._collect("xnatctl_commands", 1).get(path, [])) == 1:
            return own[0]
        return self._one("xnatctl_commands", path)

    def checks(self) -> dict[str, Provided[CheckSpec]]:
        """Checks of `doctor` by name."""
        return self._unique("xnatctl_checks")

    def stage(self, kind: str) -> Provided[StageSpec]:
        """One kind of stage; raises like `transport`."""
        return self._one("xnatctl_stages", kind)

    def own_specs(self, plugin: Plugin) -> list[tuple[str, Provided[Any]]]:
        """Everything that one loaded plugin provides, as (kind, provided); no other plugin is loaded for it."""
        return [(KINDS[hook][1], provided) for hook in KINDS for provided in self._ask(plugin, hook)]

    # targets

    def load(self, provided: Provided[Any], *, unmet: bool = False, target: str | None = None) -> Any:
        """Import the target of a spec; the returned callable calls it through the guard. Commands come as they are.

        Raises PluginUnavailable if it is not available, with what to install.

        `unmet` imports it even if a module is missing, for its help only. `target` is another one of the spec.
        """
        spec, kind = provided.spec, _kind(provided.spec)
        what = f"The {kind} {provided.name} (plugin {provided.plugin.name})"
        if provided.missing and not unmet:
            extra = spec.extra
            raise PluginUnavailable(
                f"{what} needs {' and '.join(provided.missing)}, which {_are(provided.missing)} not installed.",
                hint=f"Install with: pip install {' '.join(provided.missing)}"
                if extra
                else "Install the missing modules.",
            )
        try:
            loaded = self.guard.call(what, provided.plugin, attribute_of, target or spec.target, limit=PATIENT)
        except PluginUnavailable as error:
            raise PluginUnavailable(
                f"{what} cannot be loaded: {reason_of(error)}.",
                hint=f"Tell the author of {provided.plugin.origin}; block it with "
                f"xnatctl plugins block {provided.plugin.name}.",
            ) from error.__cause__
        if isinstance(spec, CommandSpec):
            return loaded  # click runs it
        secret = isinstance(spec, CredentialSourceSpec)
        limit = None if isinstance(spec, StageSpec) else PATIENT if isinstance(spec, CheckSpec) else QUICK
        return Guarded(
            self.guard, f"The {kind} {provided.name}", provided.plugin, loaded, quote=not secret, limit=limit
        )

    def transport_factory(self, provided: Provided[TransportSpec]) -> Callable[[TransportContext], Transport]:
        """What makes transports, all of whose methods are guarded. Raises like `load`.

        A receiver transport comes as the engine uses it.
        """
        make = self.load(provided)
        what = f"The transport {provided.name}"
        if provided.spec.settle == "none":
            return lambda context: guarded_receiver(self.guard, what, provided.plugin, make, context)
        return lambda context: guarded_transport(self.guard, what, provided.plugin, make(context))

    def credential_source(self, provided: Provided[CredentialSourceSpec]) -> GuardedSource:
        """A credential source, all of whose methods are guarded. Raises like `load`."""
        source = self.load(provided)()
        what = f"The credential source {provided.name}"
        return GuardedSource(self.guard, what, provided.plugin, source, provided.spec)

    def make_formatter(self, provided: Provided[FormatterSpec]) -> GuardedFormatter:
        """A formatter, all of whose methods are guarded. Raises like `load`."""
        formatter = self.load(provided)()
        return GuardedFormatter(self.guard, f"The output format {provided.name}", provided.plugin, formatter)

    def blaming(self, provided: Provided[Any]) -> contextlib.AbstractContextManager[None]:
        """Guard calls of methods of what a target made: what they raise becomes PluginUnavailable that names it."""
        return self.guard.around(f"The {_kind(provided.spec)} {provided.name}", provided.plugin)

    # ask and tell

    def plan_upload(
        self, request: UploadRequest, last: Callable[[UploadRequest], UploadPlan] | None = None
    ) -> UploadPlan:
        """Ask the plugins for a plan, core last, or `last`. Raises PluginUnavailable naming a plugin that failed.

        A plan of a third-party plugin is compared with the request and the disk; see `check_plan` of the constructor.
        """
        self.manager.load(2)
        for plugin, implementation in self.manager.implementations("xnatctl_plan_upload"):
            with self.guard.around("The planner", plugin):
                plan: UploadPlan | None = implementation(request=request)
                if not isinstance(plan, UploadPlan | None):
                    raise TypeError(f"it returned {type(plan).__name__} instead of UploadPlan")
                if plan is not None and not plugin.ours and self._check_plan is not None:
                    plan = self._check_plan(plan, request, f"plugin {plugin.name} ({plugin.origin})")
            if plan is not None:
                return replace(plan, request=request)
        plan_last = last or self._plan_last
        if plan_last is None:
            raise PluginUnavailable(f"Nothing can plan {request.command}.")
        return replace(plan_last(request), request=request)

    def plan_by_ours(self, request: UploadRequest) -> UploadPlan:
        """The plan that our own plugins make, or else core."""
        for plugin, implementation in self.manager.implementations("xnatctl_plan_upload"):
            plan = self.guard.call("The planner", plugin, implementation, request=request) if plugin.ours else None
            if isinstance(plan, UploadPlan):
                return plan
        if self._plan_last is None:
            raise PluginUnavailable(f"Nothing can plan {request.command}.")
        return self._plan_last(request)

    def tell(self, event: Event) -> None:
        """Send an event to every observer; one that raises is logged and gets no further events."""
        if self._observers is None or self._observers[0] != self.manager.level:
            self._observers = (self.manager.level, self.manager.implementations("xnatctl_on_event"))
        for plugin, observer in self._observers[1]:
            if plugin.status is not Status.ACTIVE or plugin.name in self._deaf:
                continue
            store = self._stores.setdefault(plugin.name, {})
            try:
                self.guard.call("The observer", plugin, observer, event=event, store=store, limit=PATIENT)
            except XnatctlError as error:  # an observer must never stop an upload
                self._deaf.add(plugin.name)
                self._debug(f"plugin {plugin.name}: xnatctl_on_event: {reason_of(error)}")

    # collecting

    def _collect(self, hook: str, level: int = 2) -> dict[str, list[Provided[Any]]]:
        self.manager.load(level)
        key = (hook, level)
        if key not in self._provided:
            found: dict[str, list[Provided[Any]]] = {}
            for plugin in list(self.manager.active):
                for provided in self._ask(plugin, hook):
                    found.setdefault(provided.name, []).append(provided)
            self._provided[key] = dict(sorted(found.items()))
        return self._provided[key]

    def _ask(self, plugin: Plugin, hook: str) -> list[Provided[Any]]:
        """One plugin's specs of one kind; anything but specs makes it broken."""
        own = [call for provider, call in self.manager.implementations(hook) if provider is plugin]
        if not own:
            return []
        kind, name = KINDS[hook]
        try:
            with self.guard.around(f"The hook {hook}", plugin, limit=QUICK):
                specs = [spec for call in own for spec in call()]
                for spec in specs:
                    if not isinstance(spec, kind):
                        raise TypeError(f"{hook} returned {type(spec).__name__} instead of {kind.__name__}")
                provided = [Provided(spec=spec, plugin=plugin, missing=_missing(spec.modules)) for spec in specs]
                names = [entry.name for entry in provided]
                if len(set(names)) < len(names):
                    raise ValueError(f"{hook} returned one {name} twice")
        except XnatctlError as error:
            self.manager.mark_broken(plugin, reason_of(error))
            self._provided.clear()
            return []
        for spec in specs:
            for option in getattr(spec, "options", ()):
                if option.secret:
                    self._secret(option)
        return provided

    def _unique(self, hook: str) -> dict[str, Provided[Any]]:
        return {name: entries[0] for name, entries in self._collect(hook).items() if len(entries) == 1}

    def _one(self, hook: str, name: str) -> Provided[Any]:
        kind = KINDS[hook][1]
        known = self._collect(hook)
        entries = known.get(name, [])
        if len(entries) == 1:
            return entries[0]
        if entries:
            first, second = entries[0].plugin, entries[1].plugin
            raise PluginUnavailable(
                f"Two plugins provide the {kind} {name}: "
                f"{first.name} ({first.origin}) and {second.name} ({second.origin}).",
                hint=f"Block one of them: {BLOCK_VARIABLE}={second.name}, or xnatctl plugins block {second.name}.",
            )
        if (out := self._blocked_provider(hook, name)) is not None:
            raise PluginUnavailable(
                f"The {kind} {name} comes from plugin {out.name}, which is {out.status}: {out.reason}.",
                hint=f"Unblock it with xnatctl plugins unblock {out.name}, or remove it from {BLOCK_VARIABLE}."
                if out.status is Status.BLOCKED
                else f"Show it with xnatctl plugins show {out.name}.",
            )
        import difflib

        close = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"There is no {kind} {name!r}.",
            hint=f"Did you mean {close[0]}?" if close else f"There are: {', '.join(known) or 'none'}.",
        )

    def _blocked_provider(self, hook: str, name: str) -> Plugin | None:
        """The blocked plugin that would provide it; a third-party plugin is not imported, so its own name decides."""
        for plugin in self.manager.plugins:
            if plugin.status is Status.BLOCKED and not plugin.ours and plugin.name == name:
                return plugin
            if plugin.status is Status.BLOCKED and plugin.ours:
                specs = self.guard.call(f"The hook {hook}", plugin, _specs_of, plugin.target, hook)
                if name in [getattr(spec, "path", None) or spec.name for spec in specs]:
                    return plugin
        return None


def _specs_of(target: str, hook: str) -> list[Any]:
    """The specs that a page of our own distribution registers."""
    function = getattr(module_of(target), hook, None)
    return list(function()) if function is not None else []


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


def _ignore(_: object) -> None:
    """The default for callers without a log, and without a redactor."""


def _kind(spec: Spec) -> str:
    return next(name for kind, name in KINDS.values() if isinstance(spec, kind))


def _are(words: tuple[str, ...]) -> str:
    return "is" if len(words) == 1 else "are"
