"""Commands `session upload` and `session verify`; core plans and delivers the session of one study."""

from __future__ import annotations

from xnatctl.api import CommandSpec, hookimpl

requires_api = 1


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """Uploading, and comparing without sending."""
    return [
        CommandSpec(
            path="session upload",
            summary="Upload DICOM and verify that it arrived.",
            target="xnatctl_session.cli:upload",
        ),
        CommandSpec(
            path="session verify",
            summary="Compare what is on disk with a session.",
            target="xnatctl_session.verify_cli:verify",
        ),
    ]
