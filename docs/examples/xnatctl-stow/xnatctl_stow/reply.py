"""Reads the Store Instances Response Module in DICOM JSON (PS3.18 F, I.2.1)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_INSTANCE_UID = "00081155"  # Referenced SOP Instance UID
_WARNING_REASON = "00081196"
_FAILURE_REASON = "00081197"
_FAILED = "00081198"  # Failed SOP Sequence
_STORED = "00081199"  # Referenced SOP Sequence
_OTHER_FAILURES = "0008119A"  # Other Failures Sequence: instances without a UID
#: Processing failure, where the server gives no reason.
_UNKNOWN = 0x0110


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreReply:
    """What a server says about the instances of a request, by SOP Instance UID.

    `stored` maps to the Warning Reason or None, `failed` to the Failure Reason. `unnamed` has the Failure Reason of
    each instance that the server could not identify.
    """

    stored: dict[str, int | None] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    unnamed: list[int] = field(default_factory=list)

    @classmethod
    def parse(cls, content: bytes) -> StoreReply:
        """Read a response body. Raises ValueError, whose text says what is wrong with it."""
        if not content.strip():
            raise ValueError("it is empty")
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raise ValueError("it is not JSON") from None
        reply = cls()
        try:
            for data_set in document if isinstance(document, list) else [document]:
                reply._read(data_set)
        except (AttributeError, TypeError, ValueError, KeyError, IndexError):
            raise ValueError("it is not DICOM JSON of a store response") from None
        return reply

    def _read(self, data_set: Mapping[str, Any]) -> None:
        for entry in _values(data_set, _STORED):
            self.stored[_uid(entry)] = _code(entry, _WARNING_REASON)
        for entry in _values(data_set, _FAILED):
            code = _code(entry, _FAILURE_REASON)
            self.failed[_uid(entry)] = _UNKNOWN if code is None else code
        for entry in _values(data_set, _OTHER_FAILURES):
            code = _code(entry, _FAILURE_REASON)
            self.unnamed.append(_UNKNOWN if code is None else code)


def _values(data_set: Mapping[str, Any], tag: str) -> Iterator[Any]:
    element = data_set.get(tag)
    yield from () if element is None else element.get("Value") or ()


def _uid(entry: Mapping[str, Any]) -> str:
    return instance_uid(entry, _INSTANCE_UID)


def instance_uid(entry: Mapping[str, Any], tag: str) -> str:
    """A UID of a data set. Raises KeyError, IndexError, TypeError or AttributeError if there is none."""
    value: str = entry[tag]["Value"][0]
    return value.strip(" \0")


def _code(entry: Mapping[str, Any], tag: str) -> int | None:
    value = next(_values(entry, tag), None)
    return None if value is None else int(value) & 0xFFFF
