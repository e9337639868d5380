"""The import service, `POST /data/services/import`: its parameters and its response (xnat-import 1 to 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from xnatctl.model.refs import Destination, PrearchiveRef
from xnatctl.plugin.protocols import Body
from xnatctl.xnat.client import XnatClient

IMPORT = "/data/services/import"
_UNASSIGNED = "Unassigned"
#: Limit for the response (bytes): one line for each session, and an import has one.
_LONGEST_ANSWER = 256 * 2**10


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportUri:
    """One line of the response to an import (2). `project` is empty for the Unassigned prearchive.

    `prearchive` has `timestamp` and `folder`, `direct` has `study` and the label in `folder`, `archive` has the label
    in `folder`. URIs are not percent-encoded, so a folder may contain spaces.
    """

    text: str
    kind: Literal["prearchive", "archive", "direct", "unknown"]
    project: str = ""
    timestamp: str = ""
    folder: str = ""
    study: str = ""

    @classmethod
    @lru_cache(maxsize=64)  # the server returns the same URI for each file of a session
    def parse(cls, text: str) -> ImportUri:
        """Parse a line. Never raises: an unknown line becomes `unknown`, without project."""
        parts = text.strip().strip("/").split("/")
        match parts:
            case ["data", "prearchive", "projects", project, timestamp, folder]:
                real = "" if project == _UNASSIGNED else project
                return cls(text=text, kind="prearchive", project=real, timestamp=timestamp, folder=folder)
            case ["xapi", "direct-archive", project, study, label]:
                return cls(text=text, kind="direct", project=project, study=study, folder=label)
            case ["data", "archive", "projects", project, *_, "experiments", label]:
                return cls(text=text, kind="archive", project=project, folder=label)
        return cls(text=text, kind="unknown")

    @property
    def ref(self) -> PrearchiveRef:
        """The prearchive row that this URI names."""
        return PrearchiveRef(project=self.project or _UNASSIGNED, timestamp=self.timestamp, folder=self.folder)


def import_parameters(destination: Destination, *, handler: str, direct: bool) -> dict[str, str]:
    """The query of every import request, whose body says more.

    Upper-case names, because gradual-DICOM ignores the others (1.4). `rename=true` or parallel requests overwrite each
    other (4.3); `prevent_auto_commit` keeps the idle job away (4.5). No `dest`, no `action`, no `overwrite`:
    each would build or archive the session under the other requests (xnat-import 0.6, 0.8).
    """
    parameters = {
        "import-handler": handler,
        "PROJECT_ID": destination.project,
        "SUBJECT_ID": destination.subject,
        "EXPT_LABEL": destination.session,
        "rename": "true",
        "prevent_auto_commit": "true",
        "Ignore-Unparsable": "false",
    }
    if direct:
        parameters["Direct-Archive"] = "true"
    return parameters


def send_import(
    client: XnatClient,
    destination: Destination,
    *,
    handler: str,
    content_type: str,
    body: Body,
    direct: bool,
    on_bytes: Callable[[int], None] | None = None,
) -> tuple[str, ...]:
    """Send one body. Returns the URIs of the response, none when nothing was stored (xnat-import 0.1).

    Raises what `XnatClient.request` raises.
    """
    reply = client.request(
        "POST",
        IMPORT,
        params={**import_parameters(destination, handler=handler, direct=direct), "inbody": "true"},
        body=body,
        content_type=content_type,
        on_bytes=on_bytes,
        limit=_LONGEST_ANSWER,
    )
    return tuple(reply.lines())


def is_concurrent_send(message: str) -> bool:
    """Whether the text means a file lock (xnat-import 3.2): wait, then send again."""
    return "concurrent file sends" in message.lower()


def is_unknown_handler(message: str) -> bool:
    """Whether the text means that the server has no such import handler (xnat-import 3.2): a 404 for every file."""
    return "unknown importer implementation" in message.lower()


def is_unparsable(message: str) -> bool:
    """Whether the text means a file that cannot be parsed. The server also uses it for a full disk or a lock (3.2)."""
    low = message.lower()
    return any(text in low for text in ("unable to read dicom object", "unable to read data from file"))
