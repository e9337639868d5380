"""Names of things on a server: project, subject, session, scan, resource (DESIGN 11, "Words")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

#: What XNAT keeps of a label when it archives (contract xnat-import 1.6): everything else becomes `_`.
_NOT_KEPT = re.compile(r"[^A-Za-z0-9_-]")
#: A UID as DICOM PS3.5 section 9 has it: digits and dots, at most 64 characters.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*\Z")


def clean_label(label: str) -> str:
    """The label that XNAT would make of `label` when it archives."""
    return _NOT_KEPT.sub("_", label)


def is_clean_label(label: str) -> bool:
    """True when XNAT would keep the label exactly as it is."""
    return bool(label) and clean_label(label) == label


def is_uid(text: str) -> bool:
    """True for a well-formed UID; anything else is never used in a name or a URL."""
    return len(text) <= 64 and _UID.match(text) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """Where an upload should end: a session of a subject of a project on a server (base URL)."""

    server: str
    project: str
    subject: str
    session: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PrearchiveRef:
    """A row of the prearchive: the triple that `prearchive archive` and `delete` take."""

    project: str
    timestamp: str
    folder: str

    @property
    def path(self) -> str:
        """The row's URL path below the base URL, as the server prints it: unencoded."""
        return f"/data/prearchive/projects/{self.project}/{self.timestamp}/{self.folder}"


class ResourceLevel(StrEnum):
    """What carries a resource (contract xnat-api 4.1)."""

    PROJECT = "project"
    SUBJECT = "subject"
    SESSION = "session"
    SCAN = "scan"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceRef:
    """A resource by its label, on the project, subject or session of a `Destination`, or on scan `scan` of the session.

    `format`, `content` and `tags` describe a resource that is made new (contract xnat-api 4.2).
    """

    label: str
    level: ResourceLevel = ResourceLevel.SESSION
    scan: str = ""
    format: str = ""
    content: str = ""
    tags: tuple[str, ...] = ()
