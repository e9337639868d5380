"""The kinds of stage that core provides, declared as a plugin would declare them."""

from __future__ import annotations

from xnatctl.model.plan import RECEIVER, SESSION
from xnatctl.plugin.specs import StageSpec

STAGES = {
    spec.name: spec
    for spec in (
        StageSpec(
            name=SESSION,
            summary="DICOM into one session: import, settle, verify",
            target="xnatctl.delivery.session.runner:SessionRunner",
        ),
        StageSpec(
            name=RECEIVER,
            summary="DICOM to a receiver, which acknowledges each file",
            target="xnatctl.delivery.receiver:ReceiverRunner",
            server=False,
        ),
    )
}
