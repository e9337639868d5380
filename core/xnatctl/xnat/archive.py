"""The archive service, `POST /data/services/archive`: archive one prearchive session (xnat-import 6.4)."""

from __future__ import annotations

from xnatctl.model.refs import PrearchiveRef
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.responses import error_for

_PATH = "/data/services/archive"


def archive_row(
    client: XnatClient,
    ref: PrearchiveRef,
    *,
    subject: str,
    session: str,
    overwrite: str | None,
    timeout: float | None = None,
) -> str:
    """Archive one row under the given labels; returns the archive URI as the server writes it.

    With one source XNAT always tries to merge, and `overwrite` (`append` and `delete` alike) replaces equal files. No
    `dest`: it does not work. `auto-archive=false` avoids a redirect on auto-archive projects; a 301 or 303 is a
    success all the same and is not followed. Waits as long as the server does, up to 600 s; a time-out or a 500 leaves
    the job running, so the caller reads the row before anything else.
    """
    form = [("src", ref.path), ("subject", subject), ("session", session), ("auto-archive", "false")]
    if overwrite is not None:
        form.append(("overwrite", overwrite))
    reply = client.request("POST", _PATH, form=form, expect=(301, 303), timeout=timeout)
    target = reply.text.strip() or reply.headers.get("location", "")
    if reply.status != 200 and "/archive/" not in target:
        raise error_for(reply, client.server, "POST", _PATH, client.commands)  # to a login page, say
    return target
