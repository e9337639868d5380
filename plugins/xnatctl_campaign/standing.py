"""How the rows of a campaign stand, from the frozen plan, the ledgers and the claims.

Nothing is stored: each call reads the folder, also while workers write to it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from xnatctl_campaign.claims import Claims, Holding
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.ledger import Entry, RowState, latest
from xnatctl_campaign.row import Row


class Standing(StrEnum):
    """How a row stands."""

    PROVEN = "proven"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # its worker was interrupted, or is dead
    IN_WORK = "in-work"  # a worker holds it, and nothing says that this worker is dead
    NOT_TRIED = "not-tried"
    EXCLUDED = "excluded"  # not part of the frozen plan


@dataclass(frozen=True, kw_only=True, slots=True)
class RowStanding:
    """A row, and how it stands.

    `entry` is the latest entry of a ledger about it. `files` and `bytes` are those of the frozen plan. `code` and
    `reason` are those of the entry, or of the exclusion. `worker` and `host` name who holds it, or tried it last.
    """

    row: Row
    standing: Standing
    files: int = 0
    bytes: int = 0
    entry: Entry | None = None
    code: str = ""
    reason: str = ""
    worker: str = ""
    host: str = ""


def standings(campaign: Campaign) -> Iterator[RowStanding]:
    """Every row of the manifest in its order, the excluded ones among them."""
    excluded = sorted(_excluded(campaign), key=_number)
    yield from heapq.merge(_planned(campaign), excluded, key=_number)


def _number(row: RowStanding) -> int:
    return row.row.number


def _excluded(campaign: Campaign) -> Iterator[RowStanding]:
    for excluded in campaign.excluded():
        yield RowStanding(row=excluded.row, standing=Standing.EXCLUDED, code=excluded.code, reason=excluded.reason)


def _planned(campaign: Campaign) -> Iterator[RowStanding]:
    found = latest(campaign.directory)
    claims = Claims(campaign.directory, "", campaign.info.lease)
    for frozen in campaign.rows():
        entry = found.get(frozen.number)
        standing, host = Standing.NOT_TRIED, ""
        worker = entry.worker if entry is not None else ""
        if entry is not None and entry.state is RowState.STARTED:
            claim = claims.state_of(frozen.number)
            standing = Standing.IN_WORK if claim.holding is Holding.HELD else Standing.INTERRUPTED
            worker, host = claim.worker or worker, claim.host
        elif entry is not None:
            standing = Standing(entry.state)
        yield RowStanding(
            row=frozen.row,
            standing=standing,
            files=frozen.files,
            bytes=frozen.bytes,
            entry=entry,
            code=entry.code if entry is not None else "",
            reason=entry.reason if entry is not None else "",
            worker=worker,
            host=host,
        )
