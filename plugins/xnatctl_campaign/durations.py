"""Durations in the command line, such as `2h30m`."""

from __future__ import annotations

import re

from xnatctl.api import UsageError

_FORM = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")
_UNITS = (86400, 3600, 60, 1)


def seconds_of(text: str, flag: str) -> float:
    """The seconds of a duration. Raises UsageError."""
    found = _FORM.fullmatch(text.strip().lower())
    seconds = 0
    if found:
        seconds = sum(int(number) * unit for number, unit in zip(found.groups(), _UNITS, strict=True) if number)
    if not seconds:
        raise UsageError(
            f"{flag} {text} is not a duration.", hint="Write days, hours, minutes and seconds, such as 2h30m or 45s."
        )
    return float(seconds)
