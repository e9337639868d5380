"""What the plugins provide, by kind and name."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from xnatctl.errors import PluginUnavailable, UsageError, XnatctlError
from xnatctl.model.events import Event
from xnatctl.model.plan import UploadPlan, UploadRequest
from xnatctl.model.secret import Secret
from xnatctl.plugin.catalog import KINDS, Catalog, Provided, Tables
from xnatctl.plugin.discovery import Plugin, Status
from xnatctl.plugin.guard import BLOCK_VARIABLE, OBSERVING, PATIENT, QUICK, attribute_of, module_of, reason_of
from xnatctl.plugin.manager import Implementation, PluginManager
from xnatctl.plugin.policy import IN_FILE, means
from xnatctl.plugin.specs import (
    CheckSpec,
    CommandSpec,
    CredentialSourceSpec,
    ExecutorSpec,
    FormatterSpec,
    Option,
    ReportWriterSpec,
    StageSpec,
    TransportSpec,
)
from xnatctl.redaction import Redactor

if TYPE_CHECKING:
    from xnatctl.plugin.guarded import GuardedExecutor, GuardedFormatter, GuardedReportWriter, GuardedSource
    from xnatctl.plugin.protocols import ExecutorContext, ReportWriterContext, Transport, TransportContext


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
        reserved: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.manager = manager
        self.guard = manager.guard
        self._plan_last = plan_last
        self._check_plan = check_plan
        self._debug = debug or _ignore
        self._catalog = Catalog(manager, reserved or {}, secret or _ignore)
        self._deaf: set[str] = set()
        #: Seconds that each observer took, and when it got its first event.
        self._taken: dict[str, float] = {}
        self._first: dict[str, float] = {}
        #: The store of each observer.
        self._stores: dict[str, dict[str, Any]] = {}
        self._observers: tuple[int, list[tuple[Plugin, Implementation]]] | None = None

    # look-ups

    def transports(self) -> dict[str, Provided[TransportSpec]]:
        """Transports by name."""
        return self._all("xnatctl_transports")

    def transport(self, name: str) -> Provided[TransportSpec]:
        """One transport. Raises UsageError for an unknown name, PluginUnavailable for one of a disabled plugin."""
        return self._one("xnatctl_transports", name)

    def formatter(self, name: str) -> Provided[FormatterSpec]:
        """One formatter; raises like `transport`.

        Third-party plugins are loaded only if ours do not provide it, so that `plugins list` and `plugins block` always
        work.
        """
        return self._ours("xnatctl_formatters", name) or self._one("xnatctl_formatters", name)

    def formatters(self) -> dict[str, Provided[FormatterSpec]]:
        """Formatters by name."""
        return self._all("xnatctl_formatters")

    def credential_sources(self) -> list[Provided[CredentialSourceSpec]]:
        """Credential sources in the order in which they are asked."""
        found: dict[str, Provided[CredentialSourceSpec]] = self._all("xnatctl_credential_sources")
        return sorted(found.values(), key=lambda provided: (provided.spec.order, provided.name))

    def commands(self, *, level: int = 2) -> dict[str, Provided[CommandSpec]]:
        """Commands by path. `level` 1: only ours."""
        return dict(self._tables(level)["xnatctl_commands"])

    def command(self, path: str) -> Provided[CommandSpec]:
        """One command; raises like `transport`. For a command of ours no third-party plugin is loaded."""
        return self._ours("xnatctl_commands", path) or self._one("xnatctl_commands", path)

    def checks(self) -> dict[str, Provided[CheckSpec]]:
        """Checks of `doctor` by name."""
        return self._all("xnatctl_checks")

    def stage(self, kind: str) -> Provided[StageSpec]:
        """One kind of stage; raises like `transport`."""
        return self._one("xnatctl_stages", kind)

    def executors(self) -> dict[str, Provided[ExecutorSpec]]:
        """Executors of campaigns by name."""
        return self._all("xnatctl_executors")

    def executor(self, name: str) -> Provided[ExecutorSpec]:
        """One executor; raises like `transport`."""
        return self._one("xnatctl_executors", name)

    def report_writers(self) -> dict[str, Provided[ReportWriterSpec]]:
        """What keeps the reports of uploads, by name."""
        return self._all("xnatctl_report_writers")

    def own_specs(self, plugin: Plugin) -> list[tuple[str, Provided[Any]]]:
        """Everything that one loaded plugin provides, as (kind, provided); no other plugin is loaded for it."""
        return [(provided.kind, provided) for provided in self._catalog.of(plugin)]

    def state_of(self, plugin: Plugin) -> tuple[Status, str | None]:
        """Status and reason of a plugin; `unmet` if a module is missing for all that it provides."""
        if plugin.page is None:
            return plugin.status, plugin.reason
        provided = self._catalog.of(plugin)
        if provided and all(entry.missing for entry in provided):
            return Status.UNMET, f"needs {', '.join(sorted({name for entry in provided for name in entry.missing}))}"
        return plugin.status, plugin.reason

    def load_all(self) -> None:
        """Load all active plugins, and disable those that are broken or clash."""
        self._tables(2)

    def check(self) -> None:
        """Load everything, targets too: a plugin with a target that cannot be loaded is broken."""
        self.load_all()
        for plugin in list(self.manager.active):
            for provided in self._catalog.of(plugin):
                names = ("target", "destination", "locate")
                for target in filter(None, (getattr(provided.spec, name, None) for name in names)):
                    try:
                        if not provided.missing and plugin.status is Status.ACTIVE:
                            self.load(provided, target=target)
                    except PluginUnavailable as error:
                        self.manager.disable(plugin, Status.BROKEN, error.message.removesuffix("."))

    # targets

    def load(self, provided: Provided[Any], *, unmet: bool = False, target: str | None = None) -> Any:
        """Import the target of a spec; the returned callable calls it through the guard. Commands come as they are.

        Raises PluginUnavailable if it is not available, with what to install.

        `unmet` imports it even if a module is missing, for its help only. `target` is another one of the spec.
        """
        spec, kind = provided.spec, provided.kind
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
                f"xnatctl plugins block {self.manager.reference(provided.plugin)}.",
            ) from error.__cause__
        if isinstance(spec, CommandSpec):
            return loaded  # click runs it
        from xnatctl.plugin.guarded import Guarded  # help pages need none of it

        secret = isinstance(spec, CredentialSourceSpec)
        patient = isinstance(spec, CheckSpec | ExecutorSpec)
        limit = None if isinstance(spec, StageSpec) else PATIENT if patient else QUICK
        return Guarded(
            self.guard, f"The {kind} {provided.name}", provided.plugin, loaded, quote=not secret, limit=limit
        )

    def transport_factory(self, provided: Provided[TransportSpec]) -> Callable[[TransportContext], Transport]:
        """What makes transports, all of whose methods are guarded. Raises like `load`.

        A receiver transport comes as the engine uses it.
        """
        from xnatctl.plugin.guarded import guarded_receiver, guarded_transport

        make = self.load(provided)
        what = f"The transport {provided.name}"
        if provided.spec.settle == "none":
            return lambda context: guarded_receiver(
                self.guard, what, provided.plugin, make, context, self.address_of(provided, context.options) or ""
            )
        return lambda context: guarded_transport(self.guard, what, provided.plugin, make(context))

    def address_of(self, provided: Provided[TransportSpec], options: Mapping[str, Any]) -> str | None:
        """The address that a receiver transport delivers to; None if its spec does not define one.

        Raises PluginUnavailable for a target that returns none, or one with the value of a secret option.
        """
        if provided.spec.destination is None:
            return None
        address = self.load(provided, target=provided.spec.destination)(dict(options))
        if not isinstance(address, str) or not address:
            raise PluginUnavailable(
                f"The transport {provided.name} does not name the address that it delivers to.",
                hint="This is a bug in the plugin.",
            )
        secrets = Redactor()
        for value in options.values():
            if isinstance(value, Secret):
                secrets.register_secret(value)
        if secrets.redact(address) != address:
            raise PluginUnavailable(
                f"The transport {provided.name} puts the value of a secret option into the address that it delivers "
                "to.",
                hint="This is a bug in the plugin: the journal and the report show the address.",
            )
        return address

    def credential_source(self, provided: Provided[CredentialSourceSpec]) -> GuardedSource:
        """A credential source, all of whose methods are guarded. Raises like `load`."""
        from xnatctl.plugin.guarded import GuardedSource

        source = self.load(provided)()
        what = f"The credential source {provided.name}"
        return GuardedSource(self.guard, what, provided.plugin, source, provided.spec)

    def make_executor(self, provided: Provided[ExecutorSpec], context: ExecutorContext) -> GuardedExecutor:
        """An executor, all of whose methods are guarded. Raises like `load`."""
        from xnatctl.plugin.guarded import guarded_executor

        executor = self.load(provided)(context)
        return guarded_executor(self.guard, f"The executor {provided.name}", provided.plugin, executor)

    def make_report_writer(
        self, provided: Provided[ReportWriterSpec], context: ReportWriterContext
    ) -> GuardedReportWriter:
        """A report writer, all of whose methods are guarded. Raises like `load`."""
        from xnatctl.plugin.guarded import guarded_report_writer

        writer = self.load(provided)(context)
        return guarded_report_writer(self.guard, f"The report writer {provided.name}", provided.plugin, writer)

    def make_formatter(self, provided: Provided[FormatterSpec]) -> GuardedFormatter:
        """A formatter, all of whose methods are guarded. Raises like `load`."""
        from xnatctl.plugin.guarded import GuardedFormatter

        formatter = self.load(provided)()
        return GuardedFormatter(self.guard, f"The output format {provided.name}", provided.plugin, formatter)

    def blaming(self, provided: Provided[Any]) -> contextlib.AbstractContextManager[None]:
        """Guard calls of methods of what a target made: what they raise becomes PluginUnavailable that names it."""
        return self.guard.around(f"The {provided.kind} {provided.name}", provided.plugin)

    # ask and tell

    def plan_upload(
        self, request: UploadRequest, last: Callable[[UploadRequest], UploadPlan] | None = None
    ) -> UploadPlan:
        """Ask the plugins for a plan, core last, or `last`. Raises PluginUnavailable naming a plugin that failed.

        A plan of a third-party plugin is compared with the request and the disk; see `check_plan` of the constructor.
        """
        self.load_all()
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
        """Send an event to every observer; one that raises or is slow gets no further events, with a warning."""
        if self._observers is None or self._observers[0] != self.manager.level:
            self._observers = (self.manager.level, self.manager.implementations("xnatctl_on_event"))
        shown = Event(kind=event.kind, message=event.message, data=MappingProxyType(dict(event.data)), time=event.time)
        for plugin, observer in self._observers[1]:
            if plugin.status is not Status.ACTIVE or plugin.name in self._deaf:
                continue
            store = self._stores.setdefault(plugin.name, {})
            begun = time.monotonic()
            try:
                self.guard.call("The observer", plugin, observer, event=shown, store=store, limit=OBSERVING)
                if not plugin.ours:
                    self._observed(plugin, time.monotonic() - begun)
            except XnatctlError as error:  # an observer must never stop an upload
                self._drop(plugin, reason_of(error))

    def _observed(self, plugin: Plugin, seconds: float) -> None:
        """Add up what a foreign observer takes: the main thread, which tells observers, also hears interrupts."""
        self._taken[plugin.name] = taken = self._taken.get(plugin.name, 0.0) + seconds
        since = self._first.setdefault(plugin.name, time.monotonic())
        if taken > OBSERVING and taken > (time.monotonic() - since) / 2:
            self._drop(plugin, f"it takes more than half of the time ({taken:.0f} s)")

    def _drop(self, plugin: Plugin, reason: str) -> None:
        self._deaf.add(plugin.name)
        self.manager.warn(
            f"The observer of plugin {plugin.name} ({plugin.origin}) gets no further events: {reason}. "
            f"Silence this with {BLOCK_VARIABLE}={self.manager.reference(plugin)}."
        )

    # collecting

    def _tables(self, level: int) -> Tables:
        return self._catalog.tables(level)

    def _all(self, hook: str) -> dict[str, Provided[Any]]:
        return dict(self._tables(2)[hook])

    def _ours(self, hook: str, name: str) -> Provided[Any] | None:
        return self._tables(1)[hook].get(name)

    def _one(self, hook: str, name: str) -> Provided[Any]:
        kind = KINDS[hook][1]
        known = self._tables(2)[hook]
        if name in known:
            return known[name]
        if (out := self._catalog.taken_by(kind, name) or self._disabled_provider(hook, name)) is not None:
            raise PluginUnavailable(
                f"The {kind} {name} comes from plugin {out.name}, which {_disabled(out)}.",
                hint=self._remedy(out),
            )
        import difflib

        close = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"There is no {kind} {name!r}.",
            hint=f"Did you mean {close[0]}?" if close else f"There are: {', '.join(known) or 'none'}.",
        )

    def _remedy(self, plugin: Plugin) -> str:
        """How to make a disabled plugin usable."""
        if plugin.status is not Status.BLOCKED:
            return f"Show it with xnatctl plugins show {self.manager.reference(plugin)}."
        entry = next((entry for entry in self.manager.policy.block if means(entry, plugin)), None)
        if entry is None:
            return self.manager.policy.remedy
        place = self.manager.policy.block[entry]
        return (
            f"Unblock it with xnatctl plugins unblock {entry}." if place == IN_FILE else f"Remove {entry} from {place}."
        )

    def _disabled_provider(self, hook: str, name: str) -> Plugin | None:
        """The disabled plugin that would provide it; a third-party plugin is not imported, so its own name decides."""
        for plugin in self.manager.plugins:
            if plugin.status is Status.ACTIVE:
                continue
            if not plugin.ours and plugin.name == name.partition(" ")[0]:
                return plugin
            if plugin.ours and plugin.status is Status.BLOCKED:
                specs = self.guard.call(f"The hook {hook}", plugin, _specs_of, plugin.target, hook)
                if name in [getattr(spec, "path", None) or spec.name for spec in specs]:
                    return plugin
        return None


def _disabled(plugin: Plugin) -> str:
    """Why a plugin is not active, behind "which"."""
    if plugin.status is Status.BLOCKED:
        return f"is {plugin.reason}" if str(plugin.reason).startswith("blocked") else f"is blocked: {plugin.reason}"
    said = "clashes with another" if plugin.status is Status.CLASH else f"is {plugin.status}"
    return f"{said}: {plugin.reason}"


def _specs_of(target: str, hook: str) -> list[Any]:
    """The specs that a page of our own distribution registers."""
    function = getattr(module_of(target), hook, None)
    return list(function()) if function is not None else []


def _ignore(_: object) -> None:
    """The default for callers without a log, and without a redactor."""


def _are(words: tuple[str, ...]) -> str:
    return "is" if len(words) == 1 else "are"
