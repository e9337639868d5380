"""`--split-studies`: each study of PATH becomes a session of its own, one after the other; one report at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xnatctl.cli.uploading import (
    Upload,
    attempt,
    check_state,
    delivered_before,
    describe,
    finish,
    require_transports,
    services_of,
)
from xnatctl.errors import Interrupted, Refused, UsageError, XnatctlError
from xnatctl.model.plan import UploadPlan, UploadRequest
from xnatctl.model.report import Report, Status
from xnatctl.model.words import counted

if TYPE_CHECKING:
    from xnatctl.cli.app import App
    from xnatctl.delivery.labels import JournalLabels, LabelSeries
    from xnatctl.delivery.services import Services
    from xnatctl.delivery.splitting import Part
    from xnatctl.inventory.by_study import StudyInventory
    from xnatctl.inventory.walk import Inventory
    from xnatctl.model.document import Document
    from xnatctl.model.plan import Exclusion
    from xnatctl.xnat.http.client import XnatClient

_DRY = (
    "The upload assigns the labels: a study that the server holds under one of them keeps it, and labels that hold "
    "other studies are passed over."
)


def run_split(app: App, upload: Upload, *, same_patient: bool) -> None:
    """Plan and, unless it is a dry run, deliver each study of PATH as a session; ends like `run_upload`."""
    from xnatctl.delivery.splitting import gather, together, with_changes

    split = _Split(app, upload, same_patient=same_patient)
    begun = time.monotonic()
    report = attempt(app, upload, split.run)
    if report.failure is None and split.shown is not None:
        app.render(split.shown)
        return
    if split.parts:
        gather(report, split.parts, split.excluded, time.monotonic() - begun)
        report.failure = with_changes(report.failure or together(split.parts), split.changes)
        if split.changes is not None:
            report.status = Status.PARTIAL
        if isinstance(report.failure, Interrupted):
            report.status = Status.INTERRUPTED
    finish(app, report)


class _Split:
    """One command that delivers several studies. `parts` are its sessions, once they are planned."""

    def __init__(self, app: App, upload: Upload, *, same_patient: bool) -> None:
        self._app = app
        self._upload = upload
        self._same_patient = same_patient
        self.parts: list[Part] = []
        #: What appeared while the sessions were delivered, or changed and was no part of them.
        self.changes: XnatctlError | None = None
        self._appeared: Sequence[Exclusion] = ()
        self.shown: Document | None = None
        self._several: StudyInventory | None = None

    @property
    def excluded(self) -> Sequence[Exclusion]:
        """What was left out of all sessions."""
        return (*self._several.inventory.excluded, *self._appeared) if self._several is not None else ()

    def run(self) -> Report | None:
        """Everything up to the reports of the parts. Raises XnatctlError for what concerns all of them."""
        from xnatctl.delivery.opening import exclusively
        from xnatctl.delivery.splitting import check_patients

        request = self._upload.request
        check_state(self._upload)
        if not request.settles:
            raise UsageError(f"--split-studies makes sessions, and --mode {request.transport} does not end in one.")
        several = self._several = look(request)
        warnings = (*several.inventory.notes, *check_patients(several, same_patient=self._same_patient))
        if self._upload.dry_run:
            self._show(several, warnings)
            return None
        services = services_of(self._app, self._upload)
        client = services.connect()
        label_series, request = family_on(client, request, sends=True)
        key = f"{client.server} {request.destination.project} {label_series.base}".casefold()
        with exclusively(services, "studies", key):
            known = remembered(client.server, request, label_series, resume=self._upload.resume)
            labels, passed = labels_on(client, several, request, label_series, known)
            whole = new_whole(request, (*warnings, *passed))
            self.parts = new_parts(whole, plans_of(several, request, labels, label_series, self._plan))
            for line in whole.warnings:
                self._app.warn(line)
            self._deliver(services, whole)
        return whole

    def _plan(self, request: UploadRequest, inventory: Inventory) -> UploadPlan:
        """The plan of one study; a plugin may plan it as if it were alone."""
        from xnatctl.delivery.planning import plan_session_upload

        plan = self._app.registry.plan_upload(request, lambda asked: plan_session_upload(asked, inventory))
        require_transports(self._app, plan)
        return replace(plan, listing="")  # what appears is looked for once, at the end of all

    def _deliver(self, services: Services, whole: Report) -> None:
        """Each session in its turn; one that fails does not stop the others."""
        from xnatctl.delivery.service import deliver
        from xnatctl.delivery.splitting import is_hopeless

        for number, part in enumerate(self.parts, 1):
            self._app.info(
                f"Session {part.session} ({number} of {len(self.parts)}): {counted(len(part.plan.items), 'instance')} "
                f"of study {part.study}"
            )
            part.report = deliver(part.plan, services)
            if is_hopeless(part):
                break
        if any(isinstance(part.error, Interrupted) for part in self.parts):
            return
        self._look_again(services)
        if self.changes or any(not part.complete and not isinstance(part.error, Refused) for part in self.parts):
            whole.next.append(self._app.commands.rerun())

    def _look_again(self, services: Services) -> None:
        """Find what appeared or changed while the sessions were delivered, also of those that were finished first."""
        from xnatctl.delivery.opening import open_journal
        from xnatctl.delivery.relisting import Meanwhile, changes_error, touched

        delivered = [part for part in self.parts if part.report.counts.sent + part.report.counts.skipped]
        if not delivered:
            return
        assert self._several is not None
        found = self._several.inventory
        meanwhile = Meanwhile(
            found.listing,
            found.root,
            found.items,
            follow_symlinks=self._upload.request.follow_symlinks,
            everything=False,
        )
        self._appeared = meanwhile.others
        changed = set(meanwhile.changed)
        resuming = replace(services, resume=True)
        rewritten = []
        for part in delivered:
            sent = [item for item in part.plan.items if item.path in changed]
            if suspects := list(touched(part.plan.items)):
                with open_journal(resuming, part.plan) as journal:
                    sent += [item for item in suspects if not journal.is_as_sent(item)]
            rewritten.append(sent)
        if not self._appeared and not any(rewritten):
            return
        alone = not self._appeared and all(part.complete for part in self.parts)
        for part, sent in zip(delivered, rewritten, strict=True):
            if part.complete:
                with open_journal(resuming, part.plan) as journal:
                    journal.take_back(sent)
            paths = [item.path for item in sent]
            error = changes_error(found.root, (), paths, self._app.commands.rerun(), complete=alone)
            if error is not None:
                part.take_back(frozenset(paths), error)
        alone = all(part.complete for part in self.parts)
        self.changes = changes_error(found.root, self._appeared, (), self._app.commands.rerun(), complete=alone)

    def _show(self, several: StudyInventory, warnings: tuple[str, ...]) -> None:
        from xnatctl.cli.split_view import plans_document
        from xnatctl.delivery.labels import LabelSeries, OfflineLabels, assign

        request = self._upload.request
        label_series = LabelSeries(base=request.destination.session)
        known = remembered(request.destination.server.rstrip("/"), request, label_series, resume=self._upload.resume)
        labels, _ = assign([study.uid for study in several.studies], label_series, known, OfflineLabels())
        plans = [plan for _, plan in plans_of(several, request, labels, label_series, self._plan)]
        described = [describe(self._app, plan) for plan in plans]
        before = [delivered_before(self._app, self._upload, plan) for plan in plans]
        self.shown = plans_document(plans, described, before, several.inventory, (*warnings, _DRY))


def look(request: UploadRequest) -> StudyInventory:
    """The studies of PATH. Raises what `plan_session_upload` raises for what cannot be sent."""
    from xnatctl.delivery.planning import refuse_unsendable
    from xnatctl.inventory.by_study import StudyInventory
    from xnatctl.inventory.nested_archives import look_inside
    from xnatctl.inventory.walk import scan_path

    inventory = look_inside(
        scan_path(request.path, follow_symlinks=request.follow_symlinks, large_archive=request.large_archive)
    )
    refuse_unsendable(inventory)
    return StudyInventory(inventory)


def request_for(request: UploadRequest, study: str, label: str) -> UploadRequest:
    """The request of one study, as if it had been asked for alone."""
    return replace(request, study_instance_uid=study, destination=replace(request.destination, session=label))


def family_on(client: XnatClient, request: UploadRequest, *, sends: bool) -> tuple[LabelSeries, UploadRequest]:
    """The labels that the studies may get, and the request with the names that the server has for what it names.

    `sends`: something is going to be sent there. Raises NotFound, PermissionDenied, Refused.
    """
    from xnatctl.delivery.labels import LabelSeries
    from xnatctl.delivery.session.preflight import check_labels, readable_project, refuse_accession_id, writable_project
    from xnatctl.xnat import listing

    where = request.destination
    project = (writable_project if sends else readable_project)(client, where.project)
    where = replace(where, server=client.server, project=project)
    existing = listing.find_session(client, project, where.session)
    if sends:
        if existing is None:
            refuse_accession_id(client, where)
        check_labels(client, where, existing)
    where = replace(where, session=existing.label if existing is not None else where.session)
    return LabelSeries(base=where.session), replace(request, destination=where)


def remembered(server: str, request: UploadRequest, label_series: LabelSeries, *, resume: bool) -> JournalLabels:
    """What the journals of this machine know of the family; nothing when it is started over."""
    from xnatctl.delivery.journal.summaries import summaries
    from xnatctl.delivery.labels import JournalLabels
    from xnatctl.settings.paths import journal_directory

    journals = summaries(journal_directory()) if resume else ()
    return JournalLabels(journals, server=server, project=request.destination.project, label_series=label_series)


def labels_on(
    client: XnatClient,
    several: StudyInventory,
    request: UploadRequest,
    label_series: LabelSeries,
    known: JournalLabels,
    *,
    look_only: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """The label of each study on a server, and what is to be said of that. Raises Refused."""
    from xnatctl.delivery.labels import OnServer, assign

    shown = OnServer(client, request.destination.project, label_series, known)
    labels, passed = assign([study.uid for study in several.studies], label_series, known, shown, look_only=look_only)
    if not look_only:
        shown.refuse_misplaced(request.destination.subject)
    return labels, [*passed, *shown.warnings]


def plans_of(
    several: StudyInventory,
    request: UploadRequest,
    labels: Mapping[str, str],
    label_series: LabelSeries,
    plan: Callable[[UploadRequest, Inventory], UploadPlan],
) -> Iterator[tuple[str, UploadPlan]]:
    """Study and plan, by label."""
    from xnatctl.delivery.labels import labels_in_order

    for study, label in labels_in_order(labels, label_series):
        inventory = several.alone(study)
        assert inventory is not None
        yield study, plan(request_for(request, study, label), inventory)


def new_whole(request: UploadRequest, warnings: Sequence[str]) -> Report:
    """The report of all studies together, before anything was done."""
    return Report(
        command=request.command,
        status=Status.FAILED,
        destination=request.destination,
        transport=request.transport,
        warnings=list(warnings),
    )


def new_parts(whole: Report, plans: Iterator[tuple[str, UploadPlan]]) -> list[Part]:
    """The sessions, of which nothing was tried yet."""
    from xnatctl.delivery.splitting import Part

    return [
        Part(
            study=study,
            plan=plan,
            report=Report(
                command=whole.command,
                status=Status.PLANNED,
                destination=plan.destination,
                transport=whole.transport,
            ),
        )
        for study, plan in plans
    ]
