"""Writing a manifest, so that it reads back the same and a spreadsheet runs nothing that a header held."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from xnatctl.api import PermissionDenied, Refused
from xnatctl_campaign.manifest import COLUMNS, FORMULA
from xnatctl_campaign.row import Row


def refuse_existing(path: Path) -> None:
    """Raise Refused if there is a file of that name, since a person may have edited it."""
    if os.path.lexists(path):
        raise Refused(
            f"{path} exists already, and a manifest is never overwritten.",
            hint="Name another file, or remove this one.",
        )


def write_manifest(path: Path, rows: Iterable[Row]) -> int:
    """Write rows to a new file, and return their number. Raises Refused if the file exists, and PermissionDenied."""
    refuse_existing(path)
    try:
        with open(path, "x", encoding="utf-8", newline="") as file:
            try:
                count = write_rows(file, rows)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink()  # a manifest without its last rows looks like a whole one
                raise
    except FileExistsError:
        refuse_existing(path)
        raise
    except OSError as error:
        raise PermissionDenied(f"Cannot write {path}: {error.strerror}.") from error
    return count


def write_rows(file: IO[str], rows: Iterable[Row]) -> int:
    """Write the header and the rows as CSV; returns the number of rows."""
    writer = csv.writer(file, lineterminator="\n")
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    count = 0
    for row in rows:
        cells = [guarded(getattr(row, name)) for name in COLUMNS]
        # The module `csv` does not quote CR in all versions of Python.
        (quoting if any("\r" in cell for cell in cells) else writer).writerow(cells)
        count += 1
    return count


def guarded(value: str | float | None) -> str:
    """The cell, with `'` before what a spreadsheet would run as a formula; reading removes it."""
    cell = "" if value is None else str(value)
    return f"'{cell}" if cell.startswith(FORMULA) else cell
