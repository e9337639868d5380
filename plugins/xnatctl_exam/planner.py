"""The plan of an exam: the session as `session upload` plans it, a wait for the archive, then resource by resource."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from xnatctl.api import (
    NotFound,
    Overwrite,
    Refused,
    ResourceRef,
    Stage,
    UploadPlan,
    UploadRequest,
    UsageError,
    counted,
    human_duration,
)
from xnatctl.api.commands import Inventory, look_inside, plan_resource_stage, plan_session_upload, scan_path
from xnatctl_exam.choices import Choices, transport_options
from xnatctl_exam.exam_layout import ExamLayout, sort_exam
from xnatctl_exam.naming import Group

#: The transport that carries resources, by name; another plugin provides it.
TRANSPORT = "resource"


def plan_exam(request: UploadRequest) -> UploadPlan:
    """The plan of one exam root.

    Raises NotFound if there is nothing to do, UsageError for an invalid exam root or label, Refused for everything that
    `session upload` refuses and for resources that would be mixed.
    """
    choices = Choices.of(request)
    inventory = look_inside(_inventory(request), attach_unknown=request.attach_unknown)
    sorting = sort_exam(inventory, choices)
    if choices.attach_only:
        _refuse_nothing_to_attach(inventory, sorting)
        plan = _without_images(request, inventory)
    else:
        _refuse_no_dicom(inventory)
        plan = plan_session_upload(replace(request, options=transport_options(request)), inventory)
    stages = list(plan.stages)
    if sorting.resources:
        stages.append(_wait(choices, inventory))
        stages += _attaching(request, choices, sorting.resources)
    return replace(
        plan,
        stages=tuple(stages),
        excluded=sorting.left_out,
        unreadable=sorting.unreadable,
        warnings=(*plan.warnings, *sorting.notes),
    )


def _without_images(request: UploadRequest, inventory: Inventory) -> UploadPlan:
    """The plan for an existing session without sending images."""
    return UploadPlan(
        command=request.command,
        root=os.path.abspath(inventory.root),
        destination=request.destination,
        workers=request.workers,
        placement=request.placement,
        overwrite=request.overwrite,
        stages=(),
        warnings=(*inventory.warnings, *inventory.notes),
        follow_symlinks=request.follow_symlinks,
        listing=inventory.listing,
    )


def _inventory(request: UploadRequest) -> Inventory:
    if os.path.exists(request.path) and not os.path.isdir(request.path):
        raise UsageError(
            f"{request.path} is a file; an exam root is a directory.",
            hint="Upload DICOM and archive files with xnatctl session upload, and other files with xnatctl "
            "resource upload.",
        )
    return scan_path(request.path, follow_symlinks=request.follow_symlinks)


def _refuse_no_dicom(inventory: Inventory) -> None:
    """Raise NotFound if there are files for resources but no DICOM; other cases are as in `session upload`."""
    if inventory.items or inventory.conflicts or inventory.unreadable or inventory.invalid or not inventory.others:
        return
    raise NotFound(
        f"No DICOM files in {inventory.root}: none of its {inventory.files_seen:,} files can be sent as an instance.",
        hint="To attach the files to an existing session, add --attach-only.",
    )


def _refuse_nothing_to_attach(inventory: Inventory, sorting: ExamLayout) -> None:
    if sorting.resources:
        return
    if sorting.unreadable:
        entry = sorting.unreadable[0]
        raise Refused(
            f"Nothing of {inventory.root} can be attached: {len(sorting.unreadable):,} of its files or folders cannot "
            f"be read, first {entry.path} ({entry.reason}).",
            hint="Make them readable for this user and run the command again.",
        )
    images = counted(len(inventory.items), "DICOM instance")
    there = f"it holds {images}" if inventory.items else "it holds no files"
    raise NotFound(
        f"There is nothing to attach in {inventory.root}: {there}, and --attach-only sends no DICOM.",
        hint="To attach files beside DICOM, add --attach-nested LABEL."
        if any(entry.reason.startswith("not DICOM, in") for entry in sorting.left_out)
        else None,
    )


def _wait(choices: Choices, inventory: Inventory) -> Stage:
    name = "check once whether the session is in the archive"
    if choices.wait:
        name = f"wait until the session is in the archive, {human_duration(choices.wait)} at most"
    options = {"seconds": choices.wait, "later": choices.later, "trust_session": choices.trust_session}
    # The session must already hold images that no stage sends.
    items = inventory.items if choices.attach_only else ()
    return Stage(kind="await-archive", name=name, items=items, options=options)


def _attaching(request: UploadRequest, choices: Choices, groups: tuple[Group, ...]) -> Iterator[Stage]:
    for group in groups:
        yield plan_resource_stage(
            ResourceRef(label=group.label),
            group.items,
            name=f"attach resource {group.label} (bypasses anonymisation)",
            transport=TRANSPORT,
            options=choices.resource_options,
            overwrite=request.overwrite is Overwrite.DELETE,
            verify=request.verify,
            unreadable=group.unreadable,
        )
