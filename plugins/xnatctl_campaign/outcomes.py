"""What the ledgers say about rows at the end of a run: how much was verified, and why rows failed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container
from pathlib import Path

from xnatctl_campaign.ledger import Entry, RowState, entries
from xnatctl_campaign.rows import RowIndex


def verified_of(directory: Path, index: RowIndex, wanted: Callable[[int], bool]) -> int:
    """The number of instances and files that were found on the server, of the wanted rows that are proven."""
    count = len(index)
    generations, verified = array("q", bytes(8 * count)), array("q", bytes(8 * count))
    for entry in entries(directory):
        at = index.position(entry.row)
        if at is None or entry.generation < generations[at] or entry.state is RowState.STARTED:
            continue
        generations[at] = entry.generation
        verified[at] = entry.verified if entry.state is RowState.PROVEN else 0
    return sum(number for row, number in zip(index, verified, strict=True) if wanted(row))


def latest_of(directory: Path, rows: Container[int]) -> dict[int, Entry]:
    """The entry that counts of each of some rows that a worker ended."""
    found: dict[int, Entry] = {}
    for entry in entries(directory):
        if entry.row in rows and entry.state is not RowState.STARTED:
            before = found.get(entry.row)
            if before is None or entry.generation >= before.generation:
                found[entry.row] = entry
    return found
