"""Where a request wants its objects to go (xnat-import 1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xnatctl_sandbox.receive.routing import NO_RULES, Expressions
from xnatctl_sandbox.world.state import PrearchiveRow


@dataclass(frozen=True)
class Wish:
    """The parameters of a request that decide where its objects go."""

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
    rules: Expressions = NO_RULES  # of the DICOM receiver it came in by
    own: list[PrearchiveRow] | None = None  # the rows that may be joined, and where new ones are noted; None = any
    sender: str = ""  # calling AE title
    fault: Mapping[str, Any] | None = None  # a scripted fault of what is stored


def wish_from(parameters: Mapping[str, str], login: str | None, handler: str, version: tuple[int, ...]) -> Wish:
    """The wish of a request; gradual-DICOM knows upper-case names only (xnat-import 1.4)."""

    def known(*names: str) -> str:
        return next((parameters[name] for name in names if parameters.get(name)), "")

    def truth(name: str) -> bool | None:
        return parameters[name].lower() == "true" if name in parameters else None

    short = handler != "gradual-DICOM"
    labels = ("session", "EXPT_LABEL", "EXPT_ID") if handler == "SI" else ("session", "EXPT_LABEL")
    return Wish(
        project=known("project", "PROJECT_ID") if short else known("PROJECT_ID"),
        subject=known("subject", "SUBJECT_ID") if short else known("SUBJECT_ID"),
        label=known(*labels) if short else known("EXPT_LABEL"),
        direct=bool(truth("Direct-Archive")) and version >= (1, 8, 3),
        rename=bool(truth("rename")),
        prevent_anon=truth("prevent_anon"),
        prevent_auto_commit=truth("prevent_auto_commit"),
        source=parameters.get("SOURCE", ""),
        visit=parameters.get("VISIT", ""),
        subtype=parameters.get("SUBTYPE", ""),
        timestamp=parameters.get("PREARC_TIMESTAMP", ""),
        folder=parameters.get("PREARC_SESSION_FOLDER", ""),
        login=login,
    )
