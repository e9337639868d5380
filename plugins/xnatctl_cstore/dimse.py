"""C-STORE and C-ECHO requests and their responses (PS3.7 9.1.1, 9.1.5, 9.3).

Command sets are always implicit little endian (PS3.7 6.3.1).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xnatctl_cstore.trouble import Lost

_ELEMENT = struct.Struct("<HHI")
_CLASS, _FIELD, _MESSAGE, _ANSWERED = 0x0002, 0x0100, 0x0110, 0x0120
_PRIORITY, _DATA_SET, _STATUS, _COMMENT, _INSTANCE = 0x0700, 0x0800, 0x0900, 0x0902, 0x1000
_NO_DATA_SET = 0x0101

#: More than an LO holds, because patient data are masked before the text is shortened.
_LONGEST_COMMENT = 256

C_STORE, C_ECHO = 0x0001, 0x0030
#: What a response adds to the command that it answers.
_RESPONSE = 0x8000

VERIFICATION = "1.2.840.10008.1.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: `status` (PS3.7 C) and the receiver's own comment on it."""

    status: int
    comment: str = ""


def store_request(sop_class: str, sop_instance: str, message: int) -> bytes:
    """The command set of a C-STORE-RQ of medium priority; a data set follows."""
    return _command(
        _text(_CLASS, sop_class),
        _number(_FIELD, C_STORE),
        _number(_MESSAGE, message),
        _number(_PRIORITY, 0),
        _number(_DATA_SET, 0),
        _text(_INSTANCE, sop_instance),
    )


def echo_request(message: int) -> bytes:
    """The command set of a C-ECHO-RQ."""
    return _command(
        _text(_CLASS, VERIFICATION),
        _number(_FIELD, C_ECHO),
        _number(_MESSAGE, message),
        _number(_DATA_SET, _NO_DATA_SET),
    )


def read_answer(command_set: bytes, message: int, field: int) -> Answer:
    """The answer to a message. Raises Lost for anything else."""
    elements = _elements(command_set)
    try:
        command = struct.unpack("<H", elements[_FIELD])[0]
        status = struct.unpack("<H", elements[_STATUS])[0]
        answered = struct.unpack("<H", elements[_ANSWERED])[0]
    except (KeyError, struct.error):
        raise Lost("the receiver's answer has no status", "garbled") from None
    if command != field | _RESPONSE or answered != message:
        raise Lost("the receiver answered a different request", "garbled")
    return Answer(status, _comment(elements.get(_COMMENT, b"")))


def _comment(value: bytes) -> str:
    """Error Comment is an LO: one line, without control characters (PS3.7 C, PS3.5 6.2)."""
    text = value[:_LONGEST_COMMENT].decode("utf-8", "replace")
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _command(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def _text(element: int, value: str) -> bytes:
    data = value.encode("ascii")
    data += b"\0" * (len(data) % 2)
    return _ELEMENT.pack(0, element, len(data)) + data


def _number(element: int, value: int) -> bytes:
    return _ELEMENT.pack(0, element, 2) + struct.pack("<H", value)


def _elements(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position = 0
    while position + 8 <= len(data):
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += 8
        if group != 0 or position + length > len(data):
            raise Lost("the receiver's answer is not a command set", "garbled")
        found[element] = data[position : position + length]
        position += length
    return found
