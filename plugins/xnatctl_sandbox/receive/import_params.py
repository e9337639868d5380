"""The parameters of an import that decide where its objects go (xnat-import 1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xnatctl_sandbox.world.records import PrearchiveRow
from xnatctl_sandbox.world.routing_expressions import NO_EXPRESSIONS, RoutingExpressions


@dataclass(frozen=True)
class ImportParams:
    """Destination and options of one import.

    An empty string is a parameter that the request does not have.
    """

    project: str = ""
    subject: str = ""
    label: str = ""
    direct: bool = False
    rename: bool = False
    prevent_anon: bool | None = None
    prevent_auto_commit: bool | None = None
    source: str = ""
    timestamp: str = ""
    folder: str = ""
    login: str | None = None
    visit: str = ""
    subtype: str = ""
    routing: RoutingExpressions = NO_EXPRESSIONS  # of the DICOM receiver that took the object
    own_rows: list[PrearchiveRow] | None = None  # the rows to join, where new ones are added; None = any row
    sender: str = ""  # calling AE title
    fault: Mapping[str, Any] | None = None  # a scripted fault in what is stored


def read_params(
    parameters: Mapping[str, str], login: str | None, handler: str, version: tuple[int, ...]
) -> ImportParams:
    """Read the parameters of a request; gradual-DICOM knows upper-case names only (xnat-import 1.4)."""

    def first(*names: str) -> str:
        return next((parameters[name] for name in names if parameters.get(name)), "")

    def flag(name: str) -> bool | None:
        return parameters[name].lower() == "true" if name in parameters else None

    short = handler != "gradual-DICOM"
    labels = ("session", "EXPT_LABEL", "EXPT_ID") if handler == "SI" else ("session", "EXPT_LABEL")
    return ImportParams(
        project=first("project", "PROJECT_ID") if short else first("PROJECT_ID"),
        subject=first("subject", "SUBJECT_ID") if short else first("SUBJECT_ID"),
        label=first(*labels) if short else first("EXPT_LABEL"),
        direct=bool(flag("Direct-Archive")) and version >= (1, 8, 3),
        rename=bool(flag("rename")),
        prevent_anon=flag("prevent_anon"),
        prevent_auto_commit=flag("prevent_auto_commit"),
        source=parameters.get("SOURCE", ""),
        visit=parameters.get("VISIT", ""),
        subtype=parameters.get("SUBTYPE", ""),
        timestamp=parameters.get("PREARC_TIMESTAMP", ""),
        folder=parameters.get("PREARC_SESSION_FOLDER", ""),
        login=login,
    )
