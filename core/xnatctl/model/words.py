"""Formats numbers for messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

_DICOM_DATE: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")  # PS3.5 6.2, DA
_ISO_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+(?:Z|[+-][0-9:]+)?")


def counted(number: int, noun: str) -> str:
    """`1 session`, `2 sessions`, `1,000 sessions`: counts in texts have separators, also where `:,` stands alone."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def part_of(number: int, total: int, noun: str) -> str:
    """`1 of 60 files`, `1 of 1 file`."""
    return f"{number:,} of {counted(total, noun)}"


def shown_of(number: int, total: int, noun: str) -> str:
    """`6 sessions` where all are shown, else `0 of 6 sessions`."""
    return counted(total, noun) if number == total else part_of(number, total, noun)


def was(number: int) -> str:
    """`was` of one, `were` of any other number."""
    return "was" if number == 1 else "were"


def listed(names: Sequence[str], most: int = 3) -> str:
    """`a, b, c`, or `a, b, c and 4 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def human_size(size: int) -> str:
    """Bytes in IEC units."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def human_duration(seconds: float) -> str:
    """`0.4 s`, `90 s`, `6 min`, `2 min 5 s`, `1 h 30 min`, `3 days`."""
    if seconds < 120:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    units = (("days", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next(place for place, (_, size) in enumerate(units) if seconds >= size * (2 if size == 86400 else 1))
    (name, size), (smaller, part) = units[first], units[first + 1]
    number, rest = divmod(round(seconds / part), size // part)
    return f"{number} {name} {rest} {smaller}" if rest else f"{number} {name}"


def elapsed(seconds: float) -> str:
    """How long something took: `0.5 s`, `12.0 s`, `6 min`."""
    return f"{seconds:.1f} s" if seconds < 120 else human_duration(seconds)


def human_time(text: str) -> str:
    """A time of ISO 8601 as `2024-01-15 10:20:30`, and a DICOM date as `2024-01-15`; any other text unchanged.

    A time with a zone becomes local time. One without stays what its writer meant.
    """
    if day := _DICOM_DATE.fullmatch(text):
        return "-".join(day.groups())
    if not _ISO_TIME.fullmatch(text):
        return text
    try:
        moment = datetime.fromisoformat(text)
        local = moment if moment.tzinfo is None else moment.astimezone()
    except (ValueError, OverflowError, OSError):
        return text
    return local.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


def plain_number(value: Any) -> Any:
    """A float without a fraction as a whole number; any other value unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
