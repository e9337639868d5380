"""One row of a campaign: a source on disk, and the place where it is delivered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a row holds, which decides the command that plans it."""

    DICOM = "dicom"  # one study: `session upload`
    EXAM = "exam"  # an exam root: `session upload-exam`
    RESOURCE = "resource"  # any files: `resource upload`


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of the manifest, as it was written.

    `number` counts the rows below the header from 1, and is the name of the row in every command and message. `line` is
    its first line in the file, from 1. `path` is as written; a relative one is below the directory of the manifest.
    An empty `mode` or `overwrite` means the default. `files` and `bytes` are None where the manifest says nothing.
    `ignore_reason`: the row is not to be delivered, and why.
    """

    number: int
    line: int
    path: str
    project: str
    subject: str
    session: str
    study_instance_uid: str = ""
    kind: Kind = Kind.DICOM
    resource: str = ""  # label of the resource, for kind `resource`
    mode: str = ""  # name of a transport
    overwrite: str = ""  # a value of `Overwrite`
    files: int | None = None
    bytes: int | None = None
    ignore_reason: str = ""

    @property
    def place(self) -> str:
        """Where it is delivered, in one line for people."""
        labels = f"{self.project}/{self.subject}/{self.session}"
        return f"{labels} resource {self.resource}" if self.resource else labels

    def as_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Row:
        """The inverse of `as_document`. Raises TypeError, KeyError or ValueError for other data."""
        return cls(**{**document, "kind": Kind(document["kind"])})
