"""Sessions that are received straight into the archive (xnat-import 5)."""

from __future__ import annotations

from typing import Any

from xnatctl.errors import NotFound
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.urls import url_path

_ROOT = "/xapi/direct-archive"


def get(client: XnatClient, project: str, study_uid: str, label: str) -> dict[str, Any] | None:
    """The row of a session; None when it is finished, was moved to the prearchive, or never existed."""
    try:
        document = client.get_json(url_path(_ROOT, project, study_uid, label))
    except NotFound:
        return None
    return document if isinstance(document, dict) else {}


def trigger(client: XnatClient, project: str, study_uid: str, label: str, *, timeout: float | None = None) -> bool:
    """Build and archive the session now; needs XNAT 1.8.4. False if there is no such row."""
    try:
        client.request("POST", url_path(_ROOT, project, study_uid, label), timeout=timeout)
    except NotFound:
        return False
    return True
