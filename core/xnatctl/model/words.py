"""Formats numbers for messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


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


def plain_number(value: Any) -> Any:
    """A float without a fraction as a whole number; any other value unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
