"""Declares the transport `inbox`, the stage `keep-receipt`, and the planner that adds this stage to session uploads."""

from __future__ import annotations

import os
from dataclasses import replace

from xnatctl.api import Option, Stage, StageSpec, TransportSpec, UploadPlan, UploadRequest, hookimpl


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    return [
        TransportSpec(
            name="inbox",
            summary="into a folder that another system reads",
            target="xnatctl_site.inbox:InboxTransport",
            settle="none",
            destination="xnatctl_site.inbox:address_of",
            options=(Option(name="inbox", help="The folder.", envvar="SITE_INBOX", required=True),),
        )
    ]


@hookimpl
def xnatctl_stages() -> list[StageSpec]:
    return [
        StageSpec(
            name="keep-receipt",
            summary="a receipt of each delivered session in a folder",
            target="xnatctl_site.receipt:KeepReceipt",
            server=False,
        )
    ]


@hookimpl
def xnatctl_plan_upload(request: UploadRequest) -> UploadPlan | None:
    """Plans `session upload` as core does, with one more stage where the site wants receipts."""
    folder = os.environ.get("SITE_RECEIPTS")
    if not folder or request.command != "session upload":
        return None
    from xnatctl.api.commands import plan_session_upload

    plan = plan_session_upload(request)
    stage = Stage(kind="keep-receipt", name=f"Keep a receipt in {folder}", options={"folder": folder})
    return replace(plan, stages=(*plan.stages, stage))
