"""Names of things on a server: project, subject, session, scan, resource."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from xnatctl.operating_system.command_line import join_command

#: Characters that XNAT replaces by `_` in a label when it archives (xnat-import 1.6).
_NOT_KEPT = re.compile(r"[^A-Za-z0-9_-]")
#: A UID (DICOM PS3.5 section 9): digits and dots, at most 64 characters.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*\Z")


def clean_label(label: str) -> str:
    """The label that XNAT would make of `label` when it archives."""
    return _NOT_KEPT.sub("_", label)


def is_clean_label(label: str) -> bool:
    """True if XNAT keeps the label unchanged."""
    return bool(label) and clean_label(label) == label


def is_uid(text: str) -> bool:
    """True for a well-formed UID; other texts are never used in a name or a URL."""
    return len(text) <= 64 and _UID.match(text) is not None


#: A path inside a resource that a URL can carry and the server stores unchanged (xnat-api 4.5).
_PLAIN = re.compile(r"[A-Za-z0-9_.~ -]+(/[A-Za-z0-9_.~ -]+)*\Z")
#: Characters that XML 1.0 cannot contain: a name with one makes the catalog unreadable.
_NOT_XML = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")


def file_name_problem(name: str) -> str | None:
    """Why a server does not list a file of this path in a resource; None for a valid path (xnat-api 4.5)."""
    base = name.rpartition("/")[2]
    if base.endswith("_catalog.xml"):
        return "XNAT keeps its catalogs under names that end in _catalog.xml and lists no file of such a name"
    if base.startswith(".~lock-"):
        return "XNAT keeps its locks under names that begin with .~lock- and lists no file of such a name"
    if _NOT_XML.search(name):
        return "its name is not text that XNAT's catalog can hold (control characters, or bytes that are not UTF-8)"
    return None


def is_plain_path(name: str) -> bool:
    """True if a URL can carry a path inside a resource and the server stores it unchanged (xnat-api 4.5)."""
    return _PLAIN.match(name) is not None and not any(piece in (".", "..") for piece in name.split("/"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """The destination of an upload: a session of a subject of a project on a server (base URL)."""

    server: str  # base URL
    project: str  # project ID
    subject: str  # subject label
    session: str  # session label


@dataclass(frozen=True, kw_only=True, slots=True)
class PrearchiveRef:
    """A row of the prearchive: the triple that `prearchive archive` and `delete` take."""

    project: str  # project ID
    timestamp: str  # as the server writes it
    folder: str  # the name of the folder

    def __str__(self) -> str:
        """The triple, quoted for a shell."""
        return join_command(self.triple)

    @property
    def triple(self) -> tuple[str, str, str]:
        """Project, timestamp and folder."""
        return (self.project, self.timestamp, self.folder)

    @property
    def path(self) -> str:
        """The row's URL path below the base URL, as the server prints it: unencoded."""
        return f"/data/prearchive/projects/{self.project}/{self.timestamp}/{self.folder}"


class ResourceLevel(StrEnum):
    """What carries a resource (xnat-api 4.1)."""

    PROJECT = "project"  # the project
    SUBJECT = "subject"  # the subject
    SESSION = "session"  # the session
    SCAN = "scan"  # a scan of the session


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceRef:
    """A resource by its label, on the project, subject or session of a `Destination`, or on scan `scan` of the session.

    `format`, `content` and `tags` describe a resource that is made new (xnat-api 4.2).
    """

    label: str  # the label of the resource
    level: ResourceLevel = ResourceLevel.SESSION  # what carries it
    scan: str = ""
    format: str = ""
    content: str = ""
    tags: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its identifier in a plan: level, scan and label."""
        return f"{self.level}/{self.scan}/{self.label}" if self.scan else f"{self.level}/{self.label}"

    @property
    def title(self) -> str:
        """Its name in messages: the label of a session resource, else the label after its parent."""
        match self.level:
            case ResourceLevel.SESSION:
                return self.label
            case ResourceLevel.SCAN:
                return f"scan {self.scan}/{self.label}"
        return f"{self.level}/{self.label}"

    @staticmethod
    def label_problem(label: str) -> str | None:
        """Why a server would change this label of a new resource, for a message; None for a valid label.

        XNAT reads digits alone as the number of a resource (xnat-api 2.4, 4.5).
        """
        if label.isascii() and label.isdigit():
            return "XNAT takes a label of digits alone for the number of a resource"
        return None if is_clean_label(label) else "XNAT allows only letters, digits, _ and - in labels"

    @classmethod
    def clean_label(cls, name: str) -> str:
        """The closest label that XNAT keeps: `_` in place of other characters, and before a label of digits alone."""
        cleaned = clean_label(name)
        return f"_{cleaned}" if cls.label_problem(cleaned) else cleaned
