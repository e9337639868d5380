"""A setting with its origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Value(Generic[T]):
    """A setting and its origin: a flag, a variable, a profile, the configuration file, or the default."""

    value: T
    origin: str


def first(*candidates: tuple[Any, str], default: Any = None) -> Value[Any]:
    """The first (value, origin) whose value is there, else the default."""
    return next((Value(value, origin) for value, origin in candidates if value is not None), Value(default, "default"))
