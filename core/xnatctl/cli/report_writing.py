"""Calls the report writers of an upload: a check before the first byte, and the finished report at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

from xnatctl.cli.option_values import option_value, require_values
from xnatctl.errors import Interrupted, SourceChanged, UsageError, XnatctlError, exit_code_of
from xnatctl.model.events import Event, EventKind
from xnatctl.model.report import Report, Status

if TYPE_CHECKING:
    from xnatctl.cli.app import App
    from xnatctl.delivery.services import Services
    from xnatctl.model.plan import UploadItem, UploadPlan, UploadRequest
    from xnatctl.plugin.guarded import GuardedReportWriter
    from xnatctl.plugin.protocols import FinishedUpload, ReportWriterContext


class ReportWriting:
    """The report writers that one command was asked for."""

    def __init__(self, app: App, request: UploadRequest) -> None:
        self._app = app
        self._request = request
        self._started = time.time()
        self._writers: list[tuple[str, GuardedReportWriter]] = []
        self._plans: Sequence[UploadPlan] = ()
        self._wants_digests = False
        #: SHA-256 of the content of items, by path.
        self._digests: dict[str, str] = {}

    def begin(self, *, dry_run: bool) -> None:
        """Make and check the writers, before anything is read or sent. Raises XnatctlError."""
        app = self._app
        if dry_run:
            for name in app.writer_flags:
                raise UsageError(f"--{name.replace('_', '-')} and --dry-run exclude each other.")
            return
        found = app.registry.report_writers()
        writers = []
        for provided in found.values():
            spec = provided.spec
            values = {option.name: option_value(app, option, app.writer_flags) for option in spec.options}
            if spec.options and all(values[option.name] == option.default for option in spec.options):
                continue
            require_values(spec.options, values)
            writer = app.registry.make_report_writer(provided, self._context(values))
            self._wants_digests |= spec.digests
            writers.append((provided.name, writer))
        for _, writer in writers:
            writer.check()
        self._writers = writers

    def _context(self, values: dict[str, object]) -> ReportWriterContext:
        from xnatctl.plugin.protocols import ReportWriterContext

        return ReportWriterContext(request=self._request, options=values, commands=self._app.commands)

    def services(self, services: Services, plans: Sequence[UploadPlan]) -> Services:
        """The services that deliver plans, with what the writers want to know."""
        self._plans = plans
        return replace(services, tell_digest=self._keep_digest) if self._wants_digests else services

    def _keep_digest(self, item: UploadItem, digest: str) -> None:
        self._digests[item.path] = digest

    def write(self, report: Report) -> None:
        """Hand the finished report to the writers, unless nothing was sent by a rule; the first error ends the command.

        The upload itself is not changed by an error of a writer.
        """
        if report.status in (Status.REFUSED, Status.PLANNED):
            return
        for name, writer in self._writers:
            self._app.tell(Event(kind=EventKind.PREPARING, message=f"writing the {name}"))
            try:
                with self._app.guard.redirected():
                    place = writer.write(self._finished(_copy(report)))
            except (KeyboardInterrupt, Interrupted) as interrupt:
                from xnatctl.delivery.endings import interrupted

                report.failure = interrupted(interrupt, self._app.commands.rerun())
                report.status = Status.INTERRUPTED
                return
            except XnatctlError as error:
                self._failed(report, error)
            else:
                report.kept.append({"writer": name, "place": place})

    def _failed(self, report: Report, error: XnatctlError) -> None:
        if report.failure is not None:
            self._app.report_error(error)
        else:  # codes 2, 7 and 8 say that nothing was sent, and something was
            report.failure = XnatctlError(f"The upload is {report.status}. {error.message}", hint=error.hint)

    def _finished(self, report: Report) -> FinishedUpload:
        from xnatctl.plugin.protocols import FinishedUpload

        plugins = [(plugin.name, plugin.distribution, plugin.version) for plugin in self._app.registry.manager.active]
        return FinishedUpload(
            report=report,
            plans=tuple(self._plans),
            user=self._app.login_name,
            started=self._started,
            ended=time.time(),
            code=0 if report.failure is None else exit_code_of(report.failure),
            plugins=tuple(plugins),
            digest_of=lambda item: self._digest_of(item, read=report.status is not Status.INTERRUPTED),
        )

    def _digest_of(self, item: UploadItem, *, read: bool) -> str | None:
        known = self._digests.get(item.path)
        if known is not None or not read:
            return known
        from xnatctl.inventory.sources import content_hash

        try:
            return content_hash(item)
        except SourceChanged:
            return None


def _copy(report: Report) -> Report:
    """What a writer may change without changing how the command ends, what it prints, or what other writers keep.

    The items of one upload are made anew whenever they are read, so only those of several uploads are copied.
    """
    items = [replace(item) for item in report.items] if isinstance(report.items, list) else report.items
    return replace(deepcopy(replace(report, items=(), failure=None)), items=items, failure=report.failure)
