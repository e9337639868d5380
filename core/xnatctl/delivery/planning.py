"""Makes plans: what is sent and in which stages, and what is refused before sending."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from xnatctl.delivery.remedies import remedy_for
from xnatctl.errors import DeliveryIncomplete, NotFound, Refused
from xnatctl.inventory.by_study import StudyInventory
from xnatctl.inventory.nested_archives import look_inside
from xnatctl.inventory.walk import Inventory, scan_paths
from xnatctl.model.plan import (
    RECEIVER,
    SESSION,
    Exclusion,
    Overwrite,
    Placement,
    Stage,
    UploadItem,
    UploadPlan,
    UploadRequest,
)
from xnatctl.model.refs import Destination, ResourceRef, file_name_problem
from xnatctl.model.words import counted

#: Files that an error names before "and N more".
_NAMED = 5


def plan_session_upload(request: UploadRequest, inventory: Inventory | None = None) -> UploadPlan:
    """The plan of `session upload`: send the DICOM instances of one study, settle, verify.

    Without a session label (a receiver files by headers) the plan may send several studies, or the one that the request
    names. Raises NotFound if there is nothing to send, and Refused for several studies under one label or one SOP
    Instance UID with two contents.
    """
    if inventory is None:
        inventory = _inventory(request)
    refuse_unsendable(inventory)
    notes, listing = inventory.notes, inventory.listing
    inventory = _study_alone(inventory, request.study_instance_uid)
    if request.destination.session:
        _refuse_studies(inventory, request)
    stages = [_send_stage(request, inventory)]
    if request.follow is not None:
        stages.append(_follow_stage(request.follow))
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
        warnings=(*inventory.warnings, *notes),
        follow_symlinks=request.follow_symlinks,
        listing=listing,
        sources=tuple(map(os.path.abspath, inventory.sources)),
    )


def studies_of(request: UploadRequest) -> StudyInventory:
    """The studies of PATH. Raises the errors of `plan_session_upload` for files that cannot be sent."""
    inventory = _inventory(request)
    refuse_unsendable(inventory)
    return StudyInventory(inventory)


def _inventory(request: UploadRequest) -> Inventory:
    return look_inside(
        scan_paths(request.paths, follow_symlinks=request.follow_symlinks, large_archive=request.large_archive)
    )


def _send_stage(request: UploadRequest, inventory: Inventory) -> Stage:
    name = f"send DICOM by {request.transport}"
    steps, options = [name], dict[str, Any]()
    if request.settles:
        steps.append(_settle_name(request))
        options = {name: True for name in ("verify", "checksum", "exact") if getattr(request, name)}
        if request.verify:
            steps.append("compare the server with the disk")
    return Stage(
        kind=SESSION if request.settles else RECEIVER,
        name=name,
        steps=tuple(steps),
        transport=request.transport,
        transport_options=dict(request.options),
        items=inventory.items,
        options=options,
    )


def _follow_stage(where: Destination) -> Stage:
    """The stage that finds the studies in the XNAT behind a receiver."""
    name = f"find each study in project {where.project} of {where.server}, until it is archived"
    return Stage(
        kind="follow",
        name=name,
        steps=(name, "compare the archive with the disk"),
        options={"server": where.server, "project": where.project, "session": where.session},
    )


def _settle_name(request: UploadRequest) -> str:
    if request.placement is Placement.PREARCHIVE:
        return "leave in the prearchive for review"
    policy = {
        Overwrite.DELETE: "replacing what matches in an existing session",
        Overwrite.APPEND: "adding to an existing session",
        Overwrite.NONE: "refusing an existing session",
    }[request.overwrite]
    return f"archive, {policy}"


def _study_alone(inventory: Inventory, uid: str) -> Inventory:
    """The inventory of the requested study. Raises NotFound if it is no longer there."""
    if not uid or inventory.patients.keys() == {uid}:
        return inventory
    alone = StudyInventory(inventory).of_study(uid)
    if alone is None:
        raise NotFound(
            f"{inventory.named} {_holds(inventory)} no instance of study {uid}.",
            hint="Name the directory or archive that holds it.",
        )
    return alone


def plan_resource_stage(
    resource: ResourceRef,
    items: Sequence[UploadItem],
    *,
    name: str = "",
    transport: str = "resource",
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    verify: bool = True,
    unreadable: Sequence[Exclusion] = (),
) -> Stage:
    """The stage of one resource, alone or as part of a larger plan.

    Files whose names no server would list become `unreadable` of the stage: the others are sent, and the upload is
    incomplete.
    """
    problems = ((item.path, file_name_problem(item.name)) for item in items)
    refused = [Exclusion(path=path, reason=problem) for path, problem in problems if problem is not None]
    paths = {entry.path for entry in refused}
    name = name or f"send files to resource {resource.label}"
    return Stage(
        kind="resource",
        name=name,
        steps=(name, f"compare resource {resource.label} with the disk") if verify else (name,),
        transport=transport,
        transport_options=dict(options or {}),
        items=tuple(item for item in items if item.path not in paths),
        options={"overwrite": overwrite, "verify": verify},
        resource=resource,
        unreadable=(*unreadable, *refused),
    )


def refuse_unsendable(inventory: Inventory) -> None:
    """Raise the error that prevents an upload.

    NotFound if there is nothing to send, DeliveryIncomplete if no file can be read, Refused for one SOP Instance UID
    with two contents.
    """
    _refuse_nothing(inventory)
    _refuse_conflicts(inventory)


def _refuse_nothing(inventory: Inventory) -> None:
    if inventory.items:
        return
    if unsendable := (*inventory.unreadable, *inventory.invalid):
        raise DeliveryIncomplete(
            f"No readable DICOM in {inventory.named}: {counted(len(unsendable), 'file')} cannot be sent, "
            f"first {unsendable[0].path} ({unsendable[0].reason}). Nothing was sent.",
            hint=f"{remedy_for(unsendable)}, then run the command again.",
        )
    if not inventory.files_seen:
        raise NotFound(
            f"{inventory.named} {'are' if inventory.sources else 'is'} empty.",
            hint="Name the directory or archive that holds the DICOM files.",
        )
    reasons = Counter(entry.reason for entry in inventory.excluded).most_common(3)
    raise NotFound(
        f"No DICOM files in {inventory.named}: of {inventory.files_seen:,} examined files, none can be sent "
        f"({', '.join(f'{count:,} x {reason}' for reason, count in reasons)}).",
        hint="Name the directory or archive that holds the DICOM files; DICOM is recognised by content, not by "
        "file name.",
    )


def _refuse_conflicts(inventory: Inventory) -> None:
    if not inventory.conflicts:
        return
    conflicts = inventory.conflicts
    named = [f"{each.first} and {each.second} (SOP Instance UID {each.sop_instance_uid})" for each in conflicts]
    lines = [f"  {name}" for name in named[:_NAMED]]
    if len(named) > _NAMED:
        lines.append(f"  and {len(named) - _NAMED:,} pairs more")
    raise Refused(
        f"Two files claim to be the same instance but differ: {named[0]}."
        if len(named) == 1
        else "\n".join([f"{len(named):,} pairs of files claim to be the same instance but differ:", *lines]),
        hint="Decide which one is right and move the other one away.",
    )


def _holds(inventory: Inventory) -> str:
    return "hold" if inventory.sources else "holds"


#: Commands with `--split-studies`.
_SPLIT = frozenset({"session upload", "session verify"})


def _refuse_studies(inventory: Inventory, request: UploadRequest) -> None:
    if len(inventory.studies) <= 1:
        return
    by_study = StudyInventory(inventory)
    notes = by_study.patient_notes()
    of = f" of {by_study.number_of_patients:,} patients" if notes else ""
    apart = "Upload each study separately, from its own directory and under its own label"
    label = request.destination.session
    each = f"makes a session of each: {label}, {label}_2, ..., the earliest first"
    if request.command == "session verify":
        apart = "Compare each study separately, from its own directory and with its own label"
        each = f"compares each study with its own session: {label}, {label}_2, ..."
    if request.command not in _SPLIT:
        hint = f"{apart}; or send the images with xnatctl session upload --split-studies, which {each}."
    elif not request.settles:
        hint = f"{apart}."
    elif notes:
        hint = f"{apart}, with the subject that it belongs to."
        if request.command == "session upload":
            hint += f" If they are one person: --split-studies --same-patient {each}."
    else:
        hint = f"--split-studies {each}. Or: {apart[0].lower()}{apart[1:]}."
    raise Refused(
        f"{inventory.named} {_holds(inventory)} {len(by_study.studies):,} studies{of}, and one session label takes "
        f"one:\n{by_study.table(notes)}",
        hint=hint,
    )
