"""The plans of `--split-studies --dry-run` as one document: what each session would get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from xnatctl.cli.plan_view import amount, before_lines, place_lines, plan_document, step_lines, unsendable_lines
from xnatctl.cli.report_view import excluded_lines
from xnatctl.inventory.walk import Inventory
from xnatctl.model.document import Column, Document
from xnatctl.model.plan import UploadPlan
from xnatctl.model.words import counted

_SCHEMA = "xnatctl.plans/1"
_COLUMN = Column(key="session")


def plans_document(
    plans: Sequence[UploadPlan],
    described: Sequence[tuple[Mapping[str, Mapping[str, str]], int]],
    before: Sequence[int],
    inventory: Inventory,
    warnings: Sequence[str],
) -> Document:
    """One plan for each session; nothing was sent.

    `described` is what the transports of each plan say of themselves and the number of its batches, `before` how many
    of its files were delivered before, `warnings` are about all of them.
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
    first = documents[0]
    summary = [
        f"Would make {counted(len(plans), 'session')}, one for each study:",
        *(
            f"  {plan.destination.session}: {amount(plan, batches)}"
            for plan, (_, batches) in zip(plans, described, strict=True)
        ),
        *before_lines(sum(before), sum(len(plan.items) for plan in plans)),
        next(iter(place_lines(plans[0]))),
        "Each of them:",
        *step_lines(plans[0], described[0][0]),
        *excluded_lines(inventory.excluded),
        *unsendable_lines((*inventory.unreadable, *inventory.invalid)),
        *(f"Warning: {plan.destination.session}: {text}" for plan in plans for text in plan.warnings),
        *(f"Warning: {text}" for text in warnings),
    ]
    return Document(
        schema=_SCHEMA,
        data={
            "schema": _SCHEMA,
            "plans": [document.data for document in documents],
            "warnings": list(warnings),
        },
        columns=(_COLUMN, *first.columns),
        rows=rows,
        identifiers=tuple(dict.fromkeys(chain.from_iterable(document.identifiers for document in documents))),
        summary=tuple(summary),
    )
