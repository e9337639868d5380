"""Rows of the prearchive as tables print them, and the right to change them (xnat-import 6.1)."""

from __future__ import annotations

from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.world.clock import Clock
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import UNASSIGNED, PrearchiveRow
from xnatctl_sandbox.world.state import State

COLUMNS = (
    "project", "timestamp", "lastmod", "uploaded", "scan_date", "scan_time", "subject", "folderName", "name", "tag",
    "status", "url", "autoarchive", "prevent_anon", "prevent_auto_commit", "SOURCE", "VISIT", "PROTOCOL", "TIMEZONE",
)  # fmt: skip


def cells(clock: Clock, row: PrearchiveRow) -> dict[str, object]:
    """A row as the table prints it."""
    project = row.project or UNASSIGNED
    return {
        "project": project,
        "timestamp": row.timestamp,
        "lastmod": clock.sql(row.lastmod),
        "uploaded": clock.sql(row.uploaded),
        "scan_date": row.scan_date,
        "scan_time": row.scan_time,
        "subject": row.subject,
        "folderName": row.folder,
        "name": row.name,
        "tag": row.tag,
        "status": row.status,
        "url": f"/prearchive/projects/{project}/{row.timestamp}/{row.folder}",
        "autoarchive": row.autoarchive,
        "prevent_anon": row.prevent_anon,
        "prevent_auto_commit": row.prevent_auto_commit,
        "SOURCE": row.source,
        "VISIT": row.visit,
        "PROTOCOL": row.protocol,
        "TIMEZONE": row.timezone,
    }


def require_edit(state: State, call: Call, row: PrearchiveRow | None) -> None:
    """Raise StatusError 403 without the right to edit the row's project; Unassigned is for administrators."""
    name = call.parts.get("project")
    project = state.find_project(row.project if row is not None else name)
    if project is None:
        if not state.is_admin(call.login):
            raise StatusError(403)
    elif not state.may_edit(call.login, project):
        raise StatusError(403)
