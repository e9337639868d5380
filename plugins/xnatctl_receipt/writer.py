"""Writes the receipt of an upload."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xnatctl.api import FinishedUpload, Refused, ReportWriterContext, Status, UsageError, XnatctlError
from xnatctl.api.system import reason
from xnatctl_receipt.chain import write_chain
from xnatctl_receipt.contents import asked_of, entries_of, header_of
from xnatctl_receipt.file import read_receipt
from xnatctl_receipt.page import page_of
from xnatctl_receipt.saving import SIGNATURE, check_folder, next_free, save
from xnatctl_receipt.shape import shape_problem
from xnatctl_receipt.signing import sign

#: The suffixes of receipts.
_JSON, _HTML = ".json", ".html"


class ReceiptWriter:
    """The receipt of one upload."""

    def __init__(self, context: ReportWriterContext) -> None:
        self._request = context.request
        self._paths = bool(context.options["receipt_paths"])
        self._key: str | None = context.options["receipt_sign"]
        name = context.options["receipt"]
        if not name:
            if name is not None:
                raise UsageError("--receipt is empty: it takes the name of a file.")
            given = "--receipt-paths" if self._paths else "--receipt-sign"
            raise UsageError(f"{given} requires --receipt FILE.")
        self._path = Path(name)
        #: What is known about the receipts that this one replaces, oldest first.
        self._earlier: Sequence[Mapping[str, Any]] = ()
        #: The head of the receipt that may be replaced; empty if there is none.
        self._replaced = ""

    def check(self) -> None:
        """See `ReportWriter`."""
        path = self._path
        if path.suffix.lower() not in (_JSON, _HTML):
            raise UsageError(
                f"The receipt {path} ends neither in .json nor in .html.",
                hint=f"Name it {path.name}.json, or {path.name}.html for a page that a browser shows.",
            )
        check_folder(path)
        if os.path.lexists(path):
            self._earlier = self._unfinished_runs()
        elif os.path.lexists(signature := _signature_of(path)):
            raise Refused(f"{signature} exists, and would not belong to the new receipt.", hint=_other_name(path))
        if self._key is not None:
            sign(b"xnatctl", self._key)

    def _unfinished_runs(self) -> Sequence[Mapping[str, Any]]:
        """The runs in the receipt that exists already. Raises Refused unless it is of this upload, and not complete."""
        path = self._path
        try:
            receipt = read_receipt(path)
        except XnatctlError:
            raise Refused(f"{path} exists, and is not a receipt.", hint=_other_name(path)) from None
        header = receipt.header
        if receipt.problems or shape_problem(receipt) is not None:
            raise Refused(f"{path} exists, and is a receipt that was changed.", hint=_other_name(path))
        if header["status"] == Status.COMPLETE:
            raise Refused(f"{path} exists, and is the receipt of a complete upload.", hint=_other_name(path))
        if not _same(header["asked"], asked_of(self._request)):
            raise Refused(f"{path} exists, and is the receipt of another upload.", hint=_other_name(path))
        self._replaced = receipt.head
        run = {"head": receipt.head, **{name: header[name] for name in ("status", "started", "ended", "user")}}
        return [*header["earlier"], run]

    def write(self, upload: FinishedUpload) -> str:
        """See `ReportWriter`."""
        header = header_of(
            upload, self._request, paths=self._paths, entries=len(upload.report.items), earlier=self._earlier
        )
        troubles: list[Mapping[str, Any]] = []
        content, head = write_chain(header, _noting(entries_of(upload, paths=self._paths), troubles))
        if self._path.suffix.lower() == _HTML:
            content = page_of(content, header, troubles, head)
        signature = sign(content, self._key) if self._key is not None else None
        try:
            return str(self._save(content, signature))
        except OSError as error:
            raise XnatctlError(
                f"Its receipt {self._path} cannot be written: {reason(error)}.",
                hint="Run the same command again with another --receipt: what was sent is not sent again, and the "
                "receipt is complete.",
            ) from error

    def _save(self, content: bytes, signature: bytes | None) -> Path:
        """Write the receipt, then its signature; an old signature is removed first."""
        replaces = self._may_replace()
        if replaces:
            _signature_of(self._path).unlink(missing_ok=True)
        path = save(self._path, content, replaces=replaces)
        if signature is not None:
            save(_signature_of(path), signature, replaces=False)
        return path

    def _may_replace(self) -> bool:
        """Whether the file is still the receipt that was looked at: another run may have written one meanwhile."""
        try:
            return bool(self._replaced) and read_receipt(self._path).head == self._replaced
        except XnatctlError:
            return False


def _noting(entries: Any, troubles: list[Mapping[str, Any]]) -> Any:
    """Pass entries on, and collect those of files that did not arrive."""
    for entry in entries:
        if entry["outcome"] not in ("accepted", "verified"):
            troubles.append(entry)
        yield entry


def _same(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two requests name the same destination."""
    return all(str(one.get(name, "")).casefold() == value.casefold() for name, value in other.items())


def _signature_of(path: Path) -> Path:
    return path.with_name(path.name + SIGNATURE)


def _other_name(path: Path) -> str:
    free = next_free(path, lambda one: os.path.lexists(one) or os.path.lexists(_signature_of(one)))
    return f"Use another name: --receipt {free}"
