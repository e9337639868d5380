"""Plans the rows one by one. Rows that share a path share one inventory of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xnatctl.api import (
    DeliveryIncomplete,
    NotFound,
    PermissionDenied,
    UploadPlan,
    UploadRequest,
    XnatctlError,
    counted,
)
from xnatctl.api.commands import (
    NO_PATIENT,
    App,
    Inventory,
    PlanContext,
    StudyInventory,
    Upload,
    look_inside,
    remedy_for,
    scan_path,
)
from xnatctl_campaign.codes import Code
from xnatctl_campaign.facts import Facts
from xnatctl_campaign.finding import Finding
from xnatctl_campaign.objection import Objection
from xnatctl_campaign.requests import Choices, RequestMaker
from xnatctl_campaign.row import Kind, Row
from xnatctl_campaign.server import Project


@dataclass(kw_only=True)
class PlannedRow:
    """A row with its plan, or with the findings that explain why there is none."""

    facts: Facts
    plan: UploadPlan | None = None
    findings: list[Finding] = field(default_factory=list)
    files_seen: int = 0  # files examined for it


def by_path(rows: Iterable[Row], real_path: Callable[[Row], str]) -> list[tuple[str, list[Row]]]:
    """The rows in groups of one path and kind with that path, each in order of the manifest."""
    groups: dict[tuple[str, Kind], Row | list[Row]] = {}
    for row in rows:
        key = (real_path(row), row.kind)
        match groups.setdefault(key, row):
            case list() as several:
                several.append(row)
            case first if first is not row:
                groups[key] = [first, row]
    return [(path, group if isinstance(group, list) else [group]) for (path, _), group in groups.items()]


class RowPlanner:
    """Plans rows. `campaign` is the real path of the folder that is being made.

    `own_rows` are the real paths of all rows of kind `dicom`, ignored ones included: an archive file of such a path is
    not part of the row whose folder it is in.
    """

    def __init__(
        self,
        app: App,
        requests: RequestMaker,
        choices: Choices,
        projects: Mapping[str, Project],
        campaign: str,
        own_rows: Collection[str],
    ) -> None:
        self._app = app
        self._own_rows = own_rows
        self._requests = requests
        self._choices = choices
        self._projects = projects
        self._campaign = campaign

    def plan(self, rows: Sequence[Row], source: str, real_path: str) -> Iterator[PlannedRow]:
        """Plan the rows of one path and kind, one at a time; `source` is the path as the manifest names it."""
        shared: _Shared | Objection | None = None
        if rows[0].kind is Kind.DICOM:
            try:
                self._refuse_campaign_inside(real_path)
                shared = _Shared(self._scan(source), several=len(rows) > 1)
            except Objection as objection:
                shared = objection
        for row in rows:
            facts = Facts(
                row=row,
                path=real_path,
                project=self._projects[row.project].id,
                resources=(row.resource,) if row.kind is Kind.RESOURCE else (),
            )
            try:
                if isinstance(shared, Objection):
                    raise shared
                yield self._planned(row, facts, source, shared)
            except Objection as objection:
                finding = facts.finding(objection.code, objection.message, hint=objection.hint)
                yield PlannedRow(facts=facts, findings=[finding])

    def _planned(self, row: Row, facts: Facts, source: str, shared: _Shared | None) -> PlannedRow:
        self._refuse_campaign_inside(facts.path)
        request = self._requests.request(row, source, facts.project)
        inventory = shared.of_row(row, source) if shared is not None else None
        plan = self._plan(request, inventory, row, source)
        study = next((item.study_instance_uid for item in plan.items if item.study_instance_uid), "")
        facts = replace(
            facts,
            study=study,
            patients=self._patients(plan, inventory, study),
            resources=tuple(stage.resource.label for stage in plan.stages if stage.resource is not None),
        )
        findings = [*_unreadable(facts, plan), *_changed(facts, plan), *_warnings(facts, plan)]
        seen = shared.files_seen() if shared is not None else len(plan.items) + len(plan.excluded)
        return PlannedRow(facts=facts, plan=plan, findings=findings, files_seen=seen)

    def _refuse_campaign_inside(self, path: str) -> None:
        if self._campaign == path or self._campaign.startswith(path.rstrip(os.sep) + os.sep):
            raise Objection(
                Code.CAMPAIGN_IN_SOURCE,
                f"The campaign folder {self._campaign} is inside the path {path}.",
                "Name a campaign folder outside of the data.",
            )

    def _scan(self, source: str) -> Inventory:
        try:
            inventory = scan_path(
                source,
                follow_symlinks=self._choices.follow_symlinks,
                large_archive=self._choices.large_archive,
            )
            return look_inside(_without_rows(inventory, self._own_rows))
        except XnatctlError as error:
            raise _objection(error, source) from error

    def _plan(self, request: UploadRequest, inventory: Inventory | None, row: Row, source: str) -> UploadPlan:
        try:
            return PlanContext(self._app, Upload(request=request)).plan(request, inventory)
        except XnatctlError as error:
            raise _objection(error, source, inventory, row) from error

    def _patients(self, plan: UploadPlan, inventory: Inventory | None, study: str) -> tuple[str, ...]:
        """The hashed patients of the images; of an exam those of its first image."""
        if not study:
            return ()
        if inventory is None:
            first = next(item for item in plan.items if item.study_instance_uid == study)
            if first.source.container is not None:
                return ()
            try:
                inventory = scan_path(first.file)
            except XnatctlError:  # it vanished; the delivery reports it
                return ()
        return tuple(sorted({*inventory.patients.get(study, ())} - {NO_PATIENT}))


def _without_rows(inventory: Inventory, own_rows: Collection[str]) -> Inventory:
    """The inventory, in which archive files that are rows of their own are not looked into."""
    own = {
        item.path
        for item in inventory.others
        if item.path in inventory.packed and os.path.realpath(item.file) in own_rows
    }
    if not own:
        return inventory
    return replace(
        inventory,
        packed=inventory.packed - own,
        excluded=tuple(
            replace(entry, reason="another row names it") if entry.path in own else entry
            for entry in inventory.excluded
        ),
    )


class _Shared:
    """The inventory of a path, from which the rows of this path take their study."""

    def __init__(self, inventory: Inventory, *, several: bool) -> None:
        self._inventory = inventory
        self._by_study = StudyInventory(inventory) if several else None
        self._unseen = inventory.files_seen

    def files_seen(self) -> int:
        """The number of examined files, once."""
        seen, self._unseen = self._unseen, 0
        return seen

    def of_row(self, row: Row, source: str) -> Inventory:
        """What the row sends: one study, or everything. Raises Objection.

        The inventory of one of several rows has no listing, because files that appear in a shared folder belong to no
        row in particular, and a listing of everything in each plan would need much space.
        """
        uid, inventory = row.study_instance_uid, self._inventory
        if not inventory.items:
            return inventory  # planning says why
        if not uid and len(inventory.patients) > 1:
            raise Objection(
                Code.SEVERAL_STUDIES,
                f"{source} holds {len(inventory.patients):,} studies, and a row takes one.",
                "Write a row for each study, with its study_instance_uid, as campaign scan does.",
            )
        if uid and uid not in inventory.patients:
            raise Objection(
                Code.STUDY_MISSING,
                f"{source} holds no instance of study {uid}.",
                "Correct path or study_instance_uid.",
            )
        if self._by_study is None or not uid:
            return inventory
        alone = self._by_study.of_study(uid)
        if alone is None or not alone.conflicts:
            return alone or inventory
        paths = {item.path for item in alone.items}
        return replace(alone, conflicts=tuple(conflict for conflict in alone.conflicts if conflict.first in paths))


def _objection(
    error: XnatctlError, source: str, inventory: Inventory | None = None, row: Row | None = None
) -> Objection:
    """The objection for an error of planning."""
    message, hint = error.message.partition("\n")[0], error.hint or ""
    if isinstance(error, NotFound) and not _exists(source):
        return Objection(Code.PATH_MISSING, f"There is no {source}.", "Correct the path, or fetch the data.")
    if isinstance(error, NotFound):
        return Objection(Code.NOTHING_TO_SEND, message, "Correct the path, or give the row an ignore_reason.")
    if isinstance(error, PermissionDenied):
        return Objection(Code.PATH_UNREADABLE, message, hint)
    if isinstance(error, DeliveryIncomplete):
        return Objection(Code.FILES_UNREADABLE, message, hint)
    if inventory is not None and inventory.conflicts:
        first = inventory.conflicts[0]
        more = f", and {counted(len(inventory.conflicts) - 1, 'pair')} more" if len(inventory.conflicts) > 1 else ""
        return Objection(
            Code.INSTANCE_CONFLICT,
            f"{first.first} and {first.second} below {source} claim to be the same instance "
            f"({first.sop_instance_uid}) but differ{more}.",
            "Decide which file is right and move the other one away.",
        )
    return Objection(Code.PLAN_REFUSED, message.rstrip(":"), hint)


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a null character
        return False


def _unreadable(facts: Facts, plan: UploadPlan) -> Iterator[Finding]:
    bad = (*plan.unsendable, *(entry for stage in plan.stages for entry in stage.unreadable))
    if bad:
        yield facts.finding(
            Code.FILES_UNREADABLE,
            f"{counted(len(bad), 'file')} of {facts.row.path} cannot be sent, first {bad[0].path} ({bad[0].reason}).",
            hint=f"{remedy_for(bad)}.",
        )


def _changed(facts: Facts, plan: UploadPlan) -> Iterator[Finding]:
    """The counts of the manifest differ from the disk."""
    row, items = facts.row, plan.items
    size = sum(item.size for item in items)
    if row.files in (None, len(items)) and row.bytes in (None, size):
        return
    was = [f"{row.files:,} files"] if row.files is not None else []
    was += [f"{row.bytes} bytes"] if row.bytes is not None else []
    yield facts.finding(
        Code.SOURCE_CHANGED,
        f"{row.path} changed: the manifest says {' and '.join(was)}, and the disk has {len(items):,} files and "
        f"{size} bytes.",
        hint="Scan again, or correct or empty files and bytes of the row.",
    )


def _warnings(facts: Facts, plan: UploadPlan) -> Iterator[Finding]:
    for warning in plan.warnings:
        yield facts.finding(Code.PLAN_WARNING, warning.partition("\n")[0], blocks=False)
