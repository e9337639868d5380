"""The plan of `--dry-run` as a document: a table of series, or a tree if the plan sends resources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from xnatctl.cli import plan_tree
from xnatctl.cli.attached_view import parent_text
from xnatctl.cli.report_view import excluded_lines, reason_lines
from xnatctl.cli.series_view import series_columns, series_rows
from xnatctl.model.document import Column, Document
from xnatctl.model.plan import Exclusion, Placement, UploadItem, UploadPlan
from xnatctl.model.report import SeriesReport
from xnatctl.model.words import counted, human_size, listed, part_of

PLANS_SCHEMA = "xnatctl.plans/1"
#: The modality, by the key that it had when no other column showed it.
_MODALITY_COLUMN = Column(key="state", detail=True)


def plan_document(
    plan: UploadPlan,
    *,
    description: Mapping[str, Mapping[str, str]],
    batches: int,
    before: int = 0,
    details: bool = False,
) -> Document:
    """The document of a plan that was not sent. `description` is each transport's description, by name.

    People see the description with `details`, and always for a receiver, whose parameters are its address.

    `before` counts the files that an earlier run delivered and that have not changed since.
    """
    items = plan.items
    transports = {name: dict(facts) for name, facts in description.items()}
    one = next(iter(transports.values()), {}) if len(transports) < 2 else None
    tree = any(stage.resource is not None for stage in plan.stages)
    known = SeriesReport.of(items)
    series = series_rows(
        (
            (item.study_instance_uid, item.series_instance_uid, item.size, item.modality or "modality unknown")
            for item in items
        ),
        known,
    )
    columns = series_columns(series, state=_MODALITY_COLUMN)
    cannot_go = (*plan.unsendable, *(entry for stage in plan.stages for entry in stage.unreadable))
    summary = [
        f"Would send {'at most ' if before else ''}{amount(plan, batches)}{_workers(plan)}.",
        *before_lines(before, len(items), compares=not plan.hands_over),
        *place_lines(plan),
        *([f"Paths: {listed(plan.sources)}"] if plan.sources else ()),
        *step_lines(plan, transports if details or plan.hands_over else {}),
        *(excluded_lines(plan.excluded, plan.warnings) if not tree else ()),
        *unsendable_lines(cannot_go),
        *(f"Warning: {warning}" for warning in plan.warnings),
    ]
    return Document(
        schema=plan.schema,
        data={
            **plan.as_document(),
            "transport": transports if one is None else one,
            "batches": batches,
            "delivered_before": before,
            "series": [asdict(entry) for entry in known],
        },
        columns=plan_tree.COLUMNS if tree else columns,
        rows=plan_tree.rows(plan) if tree else series,
        identifiers=tuple(item.path for item in items),
        summary=tuple(summary),
        drawing=tuple(plan_tree.tree_lines(plan)) if tree else (),
    )


def plans_document(
    title: str,
    plans: Sequence[UploadPlan],
    described: Sequence[tuple[Mapping[str, Mapping[str, str]], int]],
    before: Sequence[int],
    warnings: Sequence[str],
    *,
    details: bool = False,
) -> Document:
    """The document of several plans of one directory, one per session; nothing was sent.

    `described` holds the transport descriptions and the number of batches of each plan, `before` how many of its files
    were delivered before; `warnings` concern all plans.
    """
    documents = [
        plan_document(plan, description=description, batches=batches, before=number)
        for plan, (description, batches), number in zip(plans, described, before, strict=True)
    ]
    rows = [
        {**row, "session": plan.destination.session}
        for plan, document in zip(plans, documents, strict=True)
        for row in document.rows
    ]
    cannot_go = [entry for kind in ("unreadable", "invalid") for plan in plans for entry in getattr(plan, kind)]
    told = [*warnings, *(text for plan in plans for text in plan.warnings)]
    summary = [
        title,
        *(
            f"  {plan.destination.session}: {amount(plan, batches)}"
            for plan, (_, batches) in zip(plans, described, strict=True)
        ),
        *before_lines(sum(before), sum(len(plan.items) for plan in plans)),
        next(iter(place_lines(plans[0]))),
        "Each of them:",
        *step_lines(plans[0], described[0][0] if details else {}),
        *excluded_lines(list(dict.fromkeys(entry for plan in plans for entry in plan.excluded)), told),
        *unsendable_lines(list(dict.fromkeys(cannot_go))),
        *(f"Warning: {plan.destination.session}: {text}" for plan in plans for text in plan.warnings),
        *(f"Warning: {text}" for text in warnings),
    ]
    return Document(
        schema=PLANS_SCHEMA,
        data={
            "schema": PLANS_SCHEMA,
            "plans": [document.data for document in documents],
            "warnings": list(warnings),
        },
        columns=series_columns(rows, state=_MODALITY_COLUMN),
        rows=rows,
        identifiers=tuple(dict.fromkeys(path for document in documents for path in document.identifiers)),
        summary=tuple(summary),
    )


def before_lines(before: int, files: int, *, compares: bool = True) -> Iterator[str]:
    """State what an earlier run delivered; a dry run does not ask the server whether it is still there."""
    if before:
        skipped = "those that are still on the server" if compares else "them"
        yield f"Delivered before and unchanged: {part_of(before, files, 'file')}. The upload skips {skipped}."


def step_lines(plan: UploadPlan, transports: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """The stages in order, with the description of each transport."""
    steps = [step for stage in plan.stages for step in stage.steps or (stage.name,)]
    for number, step in enumerate(steps, 1):
        yield f"{number}. {step[:1].upper()}{step[1:]}"
    for name, facts in transports.items():
        if facts:
            yield f"Transport {name}:"
        yield from (f"  {key}: {value}" for key, value in facts.items())


def unsendable_lines(entries: Sequence[Exclusion]) -> Iterator[str]:
    """Files of the upload that cannot be sent, by reason."""
    if entries:
        yield f"{counted(len(entries), 'file')} cannot be sent, so the upload would end with exit code 5:"
        yield from reason_lines(entries)


def _payloads(plan: UploadPlan) -> Iterator[str]:
    """Counts and sizes by kind."""
    for of_resources, noun in ((False, "instance"), (True, "file")):
        sends = [stage for stage in plan.sending if (stage.resource is not None) is of_resources]
        if not sends:
            continue
        items: list[UploadItem] = [item for stage in sends for item in stage.items]
        size = human_size(sum(item.size for item in items))
        count = f" in {len(sends):,} resources" if of_resources and len(sends) > 1 else ""
        yield f"{counted(len(items), noun)}{count} ({size})"


def amount(plan: UploadPlan, batches: int) -> str:
    """Count, size and number of batches."""
    if plan.destination.session or any(stage.resource is not None for stage in plan.stages):
        way = f"in {counted(batches, 'request')}"
    else:
        studies = len({item.study_instance_uid for item in plan.items})
        way = f"of {studies:,} {'study' if studies == 1 else 'studies'}"
    return f"{' and '.join(_payloads(plan))} {way}"


def _workers(plan: UploadPlan) -> str:
    if plan.most_workers > plan.workers:
        return f" with {plan.workers} to {plan.most_workers} workers"
    return f" with {plan.workers} workers" if plan.workers > 1 else ""


def place_lines(plan: UploadPlan) -> Iterator[str]:
    """The destination."""
    where = plan.destination
    if plan.hands_over:
        yield f"Receiver: {where.server or f'set by the options of {plan.sending[0].transport}'}"
        return
    yield f"Server: {where.server or 'the configured one'}"
    resources = [stage.resource for stage in plan.sending if stage.resource is not None]
    if len(resources) == len(plan.sending):
        yield f"Destination: {parent_text(resources[0], where)}"
    elif where.session:
        goal = "archive" if plan.placement is Placement.ARCHIVE else "prearchive"
        yield f"Destination: {goal} of project {where.project}, subject {where.subject}, session {where.session}"
