"""Declares the transport `inbox` and the stage `copy-report`, and plans uploads that need the stage."""

from __future__ import annotations

import os

from xnatctl.api import Option, StageSpec, TransportSpec, UploadPlan, UploadRequest, hookimpl

requires_api = 1


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    """A receiver: what it took is all that can be said, so nothing is settled on an XNAT."""
    return [
        TransportSpec(
            name="inbox",
            summary="DICOM files into a folder that another system watches",
            target="xnatctl_inbox.transport:InboxTransport",
            options=(Option(name="folder", help="The folder to deliver to.", required=True),),
            settle="none",
            destination="xnatctl_inbox.transport:address_of",
        )
    ]


@hookimpl
def xnatctl_stages() -> list[StageSpec]:
    """A step after the session."""
    return [
        StageSpec(
            name="copy-report",
            summary="copy the report of the session to a folder",
            target="xnatctl_inbox.stage:CopyReport",
            server=False,
        )
    ]


@hookimpl
def xnatctl_plan_upload(request: UploadRequest) -> UploadPlan | None:
    """Add the stage where the site wants copies of its reports; leave everything else to others."""
    folder = os.environ.get("SITE_REPORTS")
    if not folder or request.command != "session upload" or not request.settles:
        return None
    from xnatctl_inbox.stage import with_copy

    return with_copy(request, folder)
