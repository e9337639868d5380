"""Compares a prearchive session with the items that this and earlier runs sent to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xnatctl.delivery.context import RunContext
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.journal.records import instances_by_uid
from xnatctl.delivery.session.counting import verify_staged
from xnatctl.delivery.session.verify import Comparison
from xnatctl.delivery.session.waiting import read_waiting
from xnatctl.model.events import EventKind
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import PrearchiveRef
from xnatctl.xnat.client import XnatClient


def count_staged(
    client: XnatClient,
    journal: Journal,
    ref: PrearchiveRef,
    items: Sequence[UploadItem],
    *,
    before: Mapping[str, int] | None,
    exact: bool,
) -> Comparison:
    """Count a prearchive session, including items that only earlier runs sent there; see `verify_staged`.

    If it is not known whether a file of an earlier run was stored, counting proves nothing.
    """
    left = journal.left()
    unclear = any(item.outcome in (Outcome.SENDING, Outcome.AMBIGUOUS) for item in left)
    besides = journal.besides(ref.path)
    before = None if unclear else before
    comparison = verify_staged(client, ref, items, before=before, exact=exact, besides=besides)
    if comparison.verification.ok:
        journal.prove(item.name for item in left if item.outcome.delivered and item.uri == ref.path)
    return comparison


def read_staged(context: RunContext, ref: PrearchiveRef, found: Comparison, *, exact: bool) -> Comparison:
    """Compare a prearchive session by UID if counting proves nothing; see `read_waiting`."""
    if found.verification.ok:
        return found
    context.tell(EventKind.VERIFYING, state="reading the UIDs of the waiting files")
    left = instances_by_uid(context.journal.left())
    if (read := read_waiting(context.client, ref, found.items, exact=exact, besides=left)) is None:
        return found
    comparison, there = read
    context.journal.prove(left[uid].name for uid in there)
    return comparison
