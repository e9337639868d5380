"""Reads a receipt, of either form."""

from __future__ import annotations

from pathlib import Path

from xnatctl.api import NotFound, UsageError
from xnatctl.api.system import reason
from xnatctl_receipt.chain import ANY_VERSION, SCHEMA, Receipt, read_chain
from xnatctl_receipt.page import embedded


def read_receipt(path: Path) -> Receipt:
    """Read a receipt, and name what was changed since it was written. Raises as `read_bytes` and `parse_receipt`."""
    return parse_receipt(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises NotFound, UsageError."""
    try:
        if not path.is_file():
            raise NotFound(f"There is no file {path}.")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {reason(error)}.") from error


def parse_receipt(path: Path, data: bytes) -> Receipt:
    """A receipt from its bytes. Raises UsageError for what is not a receipt, or one of a later version."""
    version = ANY_VERSION.search(data)
    if version is not None and version[1] != b"1" and version.start() == 0:
        raise UsageError(
            f"{path} is a receipt of version {version[1].decode()}, which this version of xnatctl does not know.",
            hint="Check it with the xnatctl that wrote it.",
        )
    if data.startswith(b"{"):
        if version is None or version.start():
            raise _none(path)
        return read_chain(data)
    if SCHEMA.encode() not in data:
        raise _none(path)
    text, problems = embedded(data)
    receipt = read_chain(text) if text is not None else Receipt()
    receipt.problems[:0] = problems
    return receipt


def _none(path: Path) -> UsageError:
    return UsageError(f"{path} is not a receipt of xnatctl.", hint="A receipt is what an upload with --receipt wrote.")
