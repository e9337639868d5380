"""Parameter types for numbers. Limits appear in the error message, not in every help."""

from __future__ import annotations

import math
from typing import Any

import click


class _Limited(click.ParamType[float]):
    """A number of at least `min`, or more than `min` with `min_open`, and at most `max`."""

    kind = ""

    def __init__(self, *, min: float | None = None, max: float | None = None, min_open: bool = False) -> None:  # noqa: A002 - click's names
        self._min, self._max, self._min_open = min, max, min_open

    def parse(self, value: Any) -> float:
        """Parse a number. Raises ValueError."""
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises click.BadParameter."""
        try:
            number = self.parse(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not {self.kind}.", param, ctx)
        if self._min is not None and (number < self._min or (self._min_open and number == self._min)):
            self.fail(f"{value} is not {'more than' if self._min_open else 'at least'} {self._min}.", param, ctx)
        if self._max is not None and number > self._max:
            self.fail(f"{value} is more than {self._max}.", param, ctx)
        return number


class Number(_Limited):
    """A finite number; `nan` and infinity are refused."""

    name, kind = "number", "a number"

    def parse(self, value: Any) -> float:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(value)
        return number


class WholeNumber(_Limited):
    """A number without a fraction."""

    name, kind = "number", "a whole number"

    def parse(self, value: Any) -> float:
        return int(value)
