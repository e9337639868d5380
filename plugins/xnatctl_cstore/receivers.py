"""The site's own DICOM receivers and its archiving delay (xnat-api 5.1, 5.5, 6)."""

from __future__ import annotations

from dataclasses import dataclass

from xnatctl.api import NotFound, PermissionDenied
from xnatctl.api.xnat import Response, XnatClient, whole_number


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomReceiver:
    """A receiver by AE title and port; `direct`: it uses direct archive, without a prearchive row."""

    title: str
    port: int
    direct: bool = False


def dicom_receivers(client: XnatClient) -> tuple[DicomReceiver, ...]:
    """The receivers of the site, which any user may list (5.1); empty if the server does not list them."""
    try:
        rows = client.get_json("/xapi/dicomscp")
    except (NotFound, PermissionDenied):
        return ()
    if not isinstance(rows, list):
        return ()
    return tuple(
        DicomReceiver(
            title=str(row.get("aeTitle", "")), port=_number(row.get("port")), direct=bool(row.get("directArchive"))
        )
        for row in rows
        if isinstance(row, dict)
    )


def archiving_delay(client: XnatClient) -> float | None:
    """Seconds until the site archives a session that has gone quiet, at most; None when it does not tell (5.5)."""
    minutes, repeat = (
        _preference(client.request("GET", f"/xapi/siteConfig/{key}", expect=(401, 403, 404)))
        for key in ("sessionXmlRebuilderInterval", "sessionXmlRebuilderRepeat")
    )
    return None if minutes is None or repeat is None else minutes * 60 + repeat / 1000


def _preference(reply: Response) -> int | None:
    text = reply.text.strip().strip('"')
    return whole_number(text) if reply.status == 200 else None


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
