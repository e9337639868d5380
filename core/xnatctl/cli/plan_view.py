"""The plan of `--dry-run` as a document: a table of series, or a tree where resources go along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xnatctl.cli import plan_tree
from xnatctl.cli.report_view import SERIES_COLUMNS, by_series, excluded_lines, human_size
from xnatctl.model.document import Column, Document
from xnatctl.model.plan import Payload, Placement, StageKind, UploadItem, UploadPlan


def plan_document(plan: UploadPlan, *, description: Mapping[str, str], batches: int) -> Document:
    """The plan; nothing was sent."""
    items = plan.items
    tree = any(stage.payload is Payload.RESOURCE for stage in plan.stages)
    summary = [
        _headline(plan, batches),
        *(f"{number}. {stage.kind}: {stage.name}" for number, stage in enumerate(plan.stages, 1)),
        *(f"{key}: {value}" for key, value in description.items()),
        *(excluded_lines(plan.excluded) if not tree else ()),
        *(f"cannot be read: {entry.path} ({entry.reason})" for entry in plan.unreadable),
        *(f"Warning: {warning}" for warning in plan.warnings),
    ]
    series = by_series((item.series_instance_uid, item.size, item.modality or "modality unknown") for item in items)
    return Document(
        schema=plan.schema,
        data={**plan.as_document(), "transport": dict(description), "batches": batches},
        columns=plan_tree.COLUMNS if tree else (*SERIES_COLUMNS[:3], Column(key="state", title="Modality")),
        rows=plan_tree.rows(plan) if tree else series,
        identifiers=tuple(item.path for item in items),
        summary=tuple(summary),
        drawing=tuple(plan_tree.drawing(plan)) if tree else (),
    )


def _headline(plan: UploadPlan, batches: int) -> str:
    where = plan.destination
    what = " and ".join(_payloads(plan))
    subject = f", subject {where.subject}" if where.subject else ""
    goal = "archive" if plan.placement is Placement.ARCHIVE else "prearchive"
    return (
        f"Would send {what} in {batches} requests with {plan.workers} workers to "
        f"{where.server or 'the configured server'}: "
        f"{goal} of project {where.project}{subject}, session {where.session}."
    )


def _payloads(plan: UploadPlan) -> Iterator[str]:
    for payload, noun in ((Payload.DICOM, "instances"), (Payload.RESOURCE, "files")):
        sends = [stage for stage in plan.stages if stage.kind is StageKind.SEND and stage.payload is payload]
        if not sends:
            continue
        items: list[UploadItem] = [item for stage in sends for item in stage.items]
        size = human_size(sum(item.size for item in items))
        count = f" in {len(sends)} resources" if payload is Payload.RESOURCE and len(sends) > 1 else ""
        yield f"{len(items)} {noun}{count} ({size})"
