"""Sends one study of an inbox by the way of every upload: plan, journal, settling, verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from xnatctl.api import (
    Destination,
    JournalError,
    Report,
    SourceChanged,
    UploadItem,
    UploadPlan,
    UploadRequest,
)
from xnatctl.api.commands import (
    App,
    Inventory,
    PlanContext,
    Upload,
    deliver,
    header_values,
    look_inside,
    make_services,
    scan_listed,
    sent_digests,
    session_fields,
    transport_options,
)
from xnatctl.api.xnat import XnatClient
from xnatctl_campaign.watch.inbox import Identity, InboxStudy
from xnatctl_campaign.watch.rules import Place, Rules


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """An attempt that reached the server. `proven` are the files that were found there, with their digests if known."""

    place: Place
    report: Report
    proven: Mapping[UploadItem, str | None]


class StudySender:
    """Sends studies below `root`, an absolute path, all with one login."""

    def __init__(self, app: App, root: str, rules: Rules) -> None:
        self._app = app
        self._root = root
        self._rules = rules
        self._client: XnatClient | None = None
        self._logged_in = False
        self.services = make_services(app, connect=self._connect, lock_wait=0)

    def identify(self, path: str) -> Identity:
        """What the content of a file says."""
        found = look_inside(scan_listed(self._root, [path]))
        for entry in (*found.invalid, *found.unreadable):
            return Identity(damaged=entry.reason)
        return Identity(study=found.items[0].study_instance_uid) if found.items else Identity()

    def place(self, study: InboxStudy) -> tuple[Place | None, Inventory]:
        """Where the rules send a study, and its files. Raises NoPlace, XnatctlError."""
        inventory = look_inside(scan_listed(self._root, [*study.files, *study.suspects]))
        require_same(inventory, study)
        firsts = {item.series_instance_uid: item for item in reversed(inventory.items)}
        keywords = self._rules.keywords
        return self._rules.place([header_values(item, keywords) for item in reversed(firsts.values())]), inventory

    def send(self, place: Place, inventory: Inventory, study: InboxStudy) -> Sent:
        """Deliver a study. Raises the errors of planning; those of the delivery are in the report."""
        upload = Upload(request=self._request(place, study.uid), lock_wait=0)
        with self._app.guard.redirected():
            plan = PlanContext(self._app, upload).plan(upload.request, inventory)
            report = deliver(replace(plan, listing=""), self.services)
        return Sent(place=place, report=report, proven=self._proven(plan, report))

    def _request(self, place: Place, uid: str) -> UploadRequest:
        app = self._app
        mode = place.mode or str(app.settings.mode.value)
        spec = app.registry.transport(mode).spec
        fields: dict[str, Any] = session_fields(
            app,
            spec,
            workers=None,
            archive=None,
            overwrite=place.overwrite or None,
            verify=True,
            verify_level="size",
            exact=False,
        )
        return UploadRequest(
            command="session upload",
            path=self._root,
            destination=Destination(
                server=app.settings.server_or_empty(),
                project=place.project,
                subject=place.subject,
                session=place.session,
            ),
            transport=mode,
            options=transport_options(app, mode, {}),
            study_instance_uid=uid,
            **fields,
        )

    def _proven(self, plan: UploadPlan, report: Report) -> Mapping[UploadItem, str | None]:
        """The files that the report proves; none if it leaves anything open."""
        counts = report.counts
        if report.failure is not None or not report.verification.ok or counts.verified != counts.found:
            return {}
        try:
            digests = sent_digests(self.services, replace(plan, destination=report.destination))
        except JournalError:
            digests = {}
        return {item: digests.get(item.path) for item in plan.items}

    def _connect(self) -> XnatClient:
        """The logged-in client. A login that failed is tried again with the same client."""
        if self._client is None:
            self._client = self._app.new_client()
        if not self._logged_in:
            self._app.log_in(self._client, self._app.credential_chain(prompts=False))
            self._logged_in = True
        return self._client


def require_same(inventory: Inventory, study: InboxStudy) -> None:
    """Raise SourceChanged if a file is not as it was listed."""
    listed = {**study.files, **study.suspects}
    for item in inventory.items:
        state, status = listed.get(item.path), item.status
        if state is None or item.study_instance_uid != study.uid:
            raise SourceChanged(f"{item.path} has changed since it was listed.", path=item.path)
        same = (item.size, status.mtime_ns) == (state.size, state.mtime_ns)
        if not same or status.ctime_ns not in (0, state.ctime_ns):  # 0: the system has no change time
            raise SourceChanged(f"{item.path} has changed since it was listed.", path=item.path)
