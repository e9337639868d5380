"""Values of secret options: plain text for the transport that uses them, masked in every record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xnatctl.redaction import MASK


class Secret(str):
    """The value of an `Option(secret=True)`. Its `repr` and the documents of requests and plans show a mask."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


def masked(value: Any) -> Any:
    """The value with every secret in it, however deep, replaced by the mask."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, Mapping):
        return {key: masked(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(masked(entry) for entry in value)
    return value


def public(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without secret ones, also without those that a record masks."""
    return {name: value for name, value in options.items() if not isinstance(value, Secret) and value != MASK}
