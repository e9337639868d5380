"""Commands: session list | show, scan list, prearchive list | show | archive | delete."""

from __future__ import annotations

from xnatctl.api import CommandSpec, hookimpl

requires_api = 1


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """The commands of this plugin."""
    return [
        CommandSpec(
            path="session list", summary="List the sessions of a project.", target="xnatctl_archive.cli:session_list"
        ),
        CommandSpec(
            path="session show", summary="Show one session with its scans.", target="xnatctl_archive.cli:session_show"
        ),
        CommandSpec(path="scan list", summary="List the scans of a session.", target="xnatctl_archive.cli:scan_list"),
        CommandSpec(
            path="prearchive list",
            summary="List the sessions in the prearchive.",
            target="xnatctl_archive.prearchive_cli:list_rows",
        ),
        CommandSpec(
            path="prearchive show",
            summary="Show one prearchive session and its server log.",
            target="xnatctl_archive.prearchive_cli:show",
        ),
        CommandSpec(
            path="prearchive archive",
            summary="Archive a prearchive session.",
            target="xnatctl_archive.prearchive_cli:archive",
        ),
        CommandSpec(
            path="prearchive delete",
            summary="Delete a prearchive session.",
            target="xnatctl_archive.prearchive_cli:delete",
        ),
    ]
