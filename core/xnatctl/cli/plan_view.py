"""The plan of `--dry-run` as a document: a table of series, or a tree where resources go along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xnatctl.cli import plan_tree
from xnatctl.cli.report_view import SERIES_COLUMNS, by_series, excluded_lines, with_studies
from xnatctl.cli.resource_view import home_words
from xnatctl.model.document import Column, Document
from xnatctl.model.plan import Payload, Placement, StageKind, UploadItem, UploadPlan
from xnatctl.model.words import counted, human_size


def plan_document(plan: UploadPlan, *, description: Mapping[str, Mapping[str, str]], batches: int) -> Document:
    """The plan; nothing was sent. `description` is what each transport says of itself, by its name."""
    items = plan.items
    transports = {name: dict(facts) for name, facts in description.items()}
    one = next(iter(transports.values()), {}) if len(transports) < 2 else None
    tree = any(stage.payload is Payload.RESOURCE for stage in plan.stages)
    series = by_series(
        (item.study_instance_uid, item.series_instance_uid, item.size, item.modality or "modality unknown")
        for item in items
    )
    columns = with_studies((*SERIES_COLUMNS[:3], Column(key="state", title="Modality", fit="wrap")), series)
    summary = [
        f"Would send {' and '.join(_payloads(plan))} {_way(plan, batches)}.",
        *(f"{number}. {stage.kind}: {stage.name}" for number, stage in enumerate(plan.stages, 1)),
        *described_lines(transports),
        *(excluded_lines(plan.excluded) if not tree else ()),
        *(f"cannot be sent: {entry.path} ({entry.reason})" for entry in plan.unsendable),
        *(f"cannot go: {entry.path} ({entry.reason})" for stage in plan.stages for entry in stage.unreadable),
        *(f"Warning: {warning}" for warning in plan.warnings),
    ]
    return Document(
        schema=plan.schema,
        data={**plan.as_document(), "transport": transports if one is None else one, "batches": batches},
        columns=plan_tree.COLUMNS if tree else columns,
        rows=plan_tree.rows(plan) if tree else series,
        identifiers=tuple(item.path for item in items),
        summary=tuple(summary),
        drawing=tuple(plan_tree.drawing(plan)) if tree else (),
    )


def described_lines(transports: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Fact by fact; where several transports carry the plan, a line for each."""
    for name, facts in transports.items():
        lines = [f"{key}: {value}" for key, value in facts.items()]
        yield from lines if len(transports) == 1 else [f"{name}: {', '.join(lines)}"]


def _payloads(plan: UploadPlan) -> Iterator[str]:
    """How much of what."""
    for payload, noun in ((Payload.DICOM, "instance"), (Payload.RESOURCE, "file")):
        sends = [stage for stage in plan.stages if stage.kind is StageKind.SEND and stage.payload is payload]
        if not sends:
            continue
        items: list[UploadItem] = [item for stage in sends for item in stage.items]
        size = human_size(sum(item.size for item in items))
        count = f" in {len(sends)} resources" if payload is Payload.RESOURCE and len(sends) > 1 else ""
        yield f"{counted(len(items), noun)}{count} ({size})"


def _way(plan: UploadPlan, batches: int) -> str:
    """How, and to where."""
    where = plan.destination
    workers = f" with {plan.workers} workers" if plan.workers > 1 else ""
    if plan.most_workers > plan.workers:
        workers = f" with {plan.workers} to {plan.most_workers} workers"
    server = where.server or "the configured server"
    means = f"in {counted(batches, 'request')}{workers} to {server}"
    resources = [stage.resource for stage in plan.stages if stage.resource is not None]
    if len(resources) == len([stage for stage in plan.stages if stage.kind is not StageKind.AWAIT]):
        return f"{means}: {home_words(resources[0], where)}"
    if not where.session:
        studies = len({item.study_instance_uid for item in plan.items})
        of = f"of {studies} {'study' if studies == 1 else 'studies'}"
        return f"{of}{workers} to {server}"
    goal = "archive" if plan.placement is Placement.ARCHIVE else "prearchive"
    return f"{means}: {goal} of project {where.project}, subject {where.subject}, session {where.session}"
