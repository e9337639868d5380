"""The bytes of a receipt, and the chain of hashes over them.

A receipt is JSON in lines of a fixed order, so that every byte of it can be checked without a parser:

    {"schema":"xnatctl.receipt/1",
    "header":HEADER,
    "entries":[
    ENTRY,
    ENTRY
    ],
    "head":"HASH"}

HEADER and ENTRY are JSON objects on one line, in ASCII. The first hash is the SHA-256 of the bytes of HEADER. The hash
of an entry is the SHA-256 of the hash before it (in hex) followed by the bytes of ENTRY without its last member, which
is that hash. The head is the last hash. A change of any byte breaks the chain or the frame of lines.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA: Final = "xnatctl.receipt/1"

_FIRST: Final = b'{"schema":"%s",' % SCHEMA.encode()
_HEADER: Final = b'"header":'
_ENTRIES: Final = b'"entries":['
_END: Final = b"],"
_HEAD: Final = re.compile(rb'"head":"([0-9a-f]{64})"\}')
#: The last member of an entry.
_HASH: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}\Z')
_HASH_SIZE: Final = len(b',"hash":""}') + 64
#: What the receipts of all versions begin with.
ANY_VERSION: Final = re.compile(rb'\{"schema":"xnatctl\.receipt/(\d+)",')


@dataclass(kw_only=True, slots=True)
class Receipt:
    """A receipt that was read. `problems` are sentences about what was changed; without any it is as it was written."""

    header: Mapping[str, Any] = field(default_factory=dict)
    entries: list[Mapping[str, Any]] = field(default_factory=list)
    head: str = ""
    problems: list[str] = field(default_factory=list)


def plain_json(value: Any) -> bytes:
    """JSON on one line, in ASCII, without characters that HTML would interpret."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode("ascii")


def first_hash(header: bytes) -> str:
    """The hash that the chain begins with."""
    return hashlib.sha256(header).hexdigest()


def next_hash(before: str, entry: bytes) -> str:
    """The hash of an entry, whose last member is left out."""
    return hashlib.sha256(before.encode("ascii") + entry).hexdigest()


def write_chain(header: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> tuple[bytes, str]:
    """The bytes of a receipt, and its head."""
    first = plain_json(header)
    lines = [_FIRST, _HEADER + first + b",", _ENTRIES]
    last = first_hash(first)
    rows: list[bytes] = []
    for entry in entries:
        body = plain_json(entry)
        last = next_hash(last, body)
        rows.append(b'%s,"hash":"%s"}' % (body[:-1], last.encode("ascii")))
    if rows:
        lines.append(b",\n".join(rows))
    lines += [_END, b'"head":"%s"}' % last.encode("ascii"), b""]
    return b"\n".join(lines), last


def read_chain(data: bytes) -> Receipt:
    """Read the bytes of a receipt, and name everything that is not as it was written."""
    receipt = Receipt()
    lines = data.split(b"\n")
    if len(lines) < 6 or lines[0] != _FIRST or lines[2] != _ENTRIES or lines[-3] != _END or lines[-1]:
        receipt.problems.append("The lines of the file are not those of a receipt: something was added or cut off.")
        return receipt
    header = lines[1]
    if not (header.startswith(_HEADER) and header.endswith(b",")):
        receipt.problems.append("The line of the header is not that of a receipt.")
        return receipt
    body = header[len(_HEADER) : -1]
    receipt.header = _parsed(body, "The header", receipt.problems)
    last = _read_entries(lines[3:-3], first_hash(body), receipt)
    head = _HEAD.fullmatch(lines[-2])
    if head is None:
        receipt.problems.append("The line of the head is not that of a receipt.")
        return receipt
    receipt.head = head[1].decode("ascii")
    if receipt.head != last:
        receipt.problems.append("The head does not follow from the header and the entries: one of them was changed.")
    if receipt.header and receipt.header.get("entries") != len(receipt.entries):
        receipt.problems.append(
            f"The header counts {receipt.header.get('entries')} entries, and the receipt has {len(receipt.entries):,}."
        )
    return receipt


def _read_entries(lines: list[bytes], last: str, receipt: Receipt) -> str:
    """Read the entries; returns the last hash. After a changed entry the chain goes on with the hash that it states."""
    for number, (line, comma) in enumerate(_rows(lines), 1):
        row = line.removesuffix(b",")
        stated = _HASH.search(row)
        if (line.endswith(b",") is not comma) or stated is None:
            receipt.problems.append(f"Entry {number} is not a line of a receipt.")
            receipt.entries.append({})
            continue
        body = row[:-_HASH_SIZE] + b"}"
        last, expected = stated[1].decode("ascii"), next_hash(last, body)
        if last != expected:
            before = "the header" if number == 1 else "the one before it"
            receipt.problems.append(f"Entry {number} was changed, or does not follow {before}.")
        receipt.entries.append(_parsed(body, f"Entry {number}", receipt.problems))
    return last


def _rows(lines: list[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The lines of entries, each with whether a comma must follow."""
    return ((line, number < len(lines)) for number, line in enumerate(lines, 1))


def _parsed(body: bytes, what: str, problems: list[str]) -> Mapping[str, Any]:
    """The object of a line; empty, with a problem, for anything else."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        problems.append(f"{what} is no JSON object.")
        return {}
    return value
