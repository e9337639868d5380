"""What is sent and in which stages; what is refused before the first byte."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from xnatctl.errors import NotFound, Refused
from xnatctl.inventory.walk import Inventory, scan_path
from xnatctl.model.plan import (
    Overwrite,
    Payload,
    Placement,
    Stage,
    StageKind,
    UploadPlan,
    UploadRequest,
)
from xnatctl.model.refs import Destination


def plan_session_upload(request: UploadRequest, inventory: Inventory | None = None) -> UploadPlan:
    """The plan of `session upload`: send the DICOM instances of one study, settle, verify.

    Without a session label (a receiver files by what the headers say) there may be several studies. Raises NotFound
    when there is nothing to send, Refused when sending could not end well: several studies under one label, or one SOP
    Instance UID with two contents.
    """
    if inventory is None:
        inventory = scan_path(request.path, follow_symlinks=request.follow_symlinks)
    _refuse_nothing(inventory)
    _refuse_conflicts(inventory)
    if request.destination.session:
        _refuse_studies(inventory)
    stages = [_send_stage(request, inventory)]
    if request.settles:
        stages.append(Stage(kind=StageKind.SETTLE, name=_settle_name(request)))
        if request.verify:
            stages.append(Stage(kind=StageKind.VERIFY, name="compare the server with the disk"))
    if request.follow is not None:
        stages += _follow_stages(request.follow)
    return UploadPlan(
        command=request.command,
        root=os.path.abspath(inventory.root),
        destination=request.destination,
        workers=request.workers,
        most_workers=request.most_workers,
        placement=request.placement,
        overwrite=request.overwrite,
        stages=tuple(stages),
        excluded=inventory.excluded,
        unreadable=inventory.unreadable,
        invalid=inventory.invalid,
        warnings=inventory.warnings,
    )


def _send_stage(request: UploadRequest, inventory: Inventory) -> Stage:
    return Stage(
        kind=StageKind.SEND,
        name=f"send DICOM by {request.transport}",
        transport=request.transport,
        payload=Payload.DICOM,
        items=inventory.items,
        options=dict(request.options),
    )


def _follow_stages(where: Destination) -> list[Stage]:
    """What is looked for afterwards, when a receiver hands over to an XNAT."""
    name = f"find each study in project {where.project} of {where.server}, until it is archived"
    options = {"server": where.server, "project": where.project, "session": where.session}
    return [
        Stage(kind=StageKind.AWAIT, name=name, options=options),
        Stage(kind=StageKind.VERIFY, name="compare the archive with the disk"),
    ]


def _settle_name(request: UploadRequest) -> str:
    if request.placement is Placement.PREARCHIVE:
        return "leave in the prearchive for review"
    policy = {
        Overwrite.DELETE: "replacing what matches in an existing session",
        Overwrite.APPEND: "adding to an existing session",
        Overwrite.NONE: "refusing an existing session",
    }[request.overwrite]
    return f"archive, {policy}"


def _refuse_nothing(inventory: Inventory) -> None:
    if inventory.items:
        return
    if unsendable := (*inventory.unreadable, *inventory.invalid):
        raise Refused(
            f"No readable DICOM in {inventory.root}: {len(unsendable)} of its files cannot be read, "
            f"first {unsendable[0].path} ({unsendable[0].reason}).",
            hint="Make them readable: give this user the right, unpack what is packed, copy again what is damaged.",
        )
    if not inventory.files_seen:
        raise NotFound(f"{inventory.root} is empty.", hint="Name the directory or archive that holds the DICOM files.")
    reasons = Counter(entry.reason for entry in inventory.excluded).most_common(3)
    raise NotFound(
        f"No DICOM files in {inventory.root}: of {inventory.files_seen} looked at, none can be sent "
        f"({', '.join(f'{count} x {reason}' for reason, count in reasons)}).",
        hint="Name the directory or archive that holds the DICOM files; what is DICOM is decided by content.",
    )


def _refuse_conflicts(inventory: Inventory) -> None:
    if not inventory.conflicts:
        return
    conflict = inventory.conflicts[0]
    raise Refused(
        f"Two files claim to be the same instance but differ: {conflict.first} and {conflict.second} "
        f"(SOP Instance UID {conflict.sop_instance_uid}; {len(inventory.conflicts)} such pairs in all).",
        hint="Decide which one is right and move the other away.",
    )


def _refuse_studies(inventory: Inventory) -> None:
    studies = inventory.studies
    if len(studies) <= 1:
        return
    table = "\n".join(f"  {line}" for line in _study_lines(inventory))
    raise Refused(
        f"{inventory.root} holds {len(studies)} studies, and one session label takes one:\n{table}",
        hint="Upload each study on its own, from its own directory and under its own label.",
    )


def _study_lines(inventory: Inventory) -> Iterator[str]:
    for study in inventory.studies:
        folders = ", ".join(study.folders[:3]) + (", ..." if len(study.folders) > 3 else "")
        yield f"{study.uid}: {len(study.items)} files in {folders}"
