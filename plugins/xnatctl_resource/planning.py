"""Plans the upload to a resource, with warnings before sending (xnat-api 4.5)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from xnatctl.api import (
    Exclusion,
    NotFound,
    Overwrite,
    Refused,
    Stage,
    UploadPlan,
    UploadRequest,
    UsageError,
    counted,
)
from xnatctl.api.commands import (
    HOLDS_DICOM,
    MAY_HOLD_DICOM,
    FileInventory,
    holds_dicom,
    plan_resource_stage,
    remedy_for,
    scan_files,
)

#: The default transport.
TRANSPORT = "resource"

_AROUND = (
    "Resources bypass the project's anonymisation and pipelines: patient data in the files are stored unchanged. "
    "Send images with xnatctl session upload."
)

_NEVER = "Packed DICOM is not attached to a resource, because it would bypass the project's anonymisation."


def plan_resource_upload(request: UploadRequest, inventory: FileInventory | None = None) -> UploadPlan:
    """The plan of `resource upload`: send the files of a directory, or one file, to `request.resource`, and compare.

    `request.overwrite` is `delete` to replace files that are there with other content, else they are refused. Raises
    NotFound when there is nothing to send, Refused when nothing of it can be read or stored.
    """
    if request.resource is None:
        raise UsageError(f"{request.command} does not name a resource.")
    if inventory is None:
        inventory = scan_files(request.path, follow_symlinks=request.follow_symlinks, hidden=request.hidden)
    holding, unknown = _packed_dicom(inventory, attach_unknown=request.attach_unknown)
    kept_back = {entry.path for entry in (*holding, *unknown)}
    stage = plan_resource_stage(
        request.resource,
        [item for item in inventory.items if item.path not in kept_back],
        transport=request.transport,
        options=request.options,
        overwrite=request.overwrite is Overwrite.DELETE,
        verify=request.verify,
        unreadable=(*inventory.unreadable, *holding, *unknown),
    )
    _refuse_nothing(inventory, stage)
    return UploadPlan(
        command=request.command,
        root=os.path.abspath(inventory.root),
        destination=request.destination,
        workers=request.workers,
        placement=request.placement,
        overwrite=request.overwrite,
        stages=(stage,),
        excluded=inventory.excluded,
        follow_symlinks=request.follow_symlinks,
        listing=inventory.listing,
        warnings=tuple(_warnings(inventory, holding, unknown)),
    )


def _refuse_nothing(inventory: FileInventory, send: Stage) -> None:
    if send.items:
        return
    if send.unreadable:
        entry = send.unreadable[0]
        raise Refused(
            f"No file in {inventory.root} can be sent ({counted(len(send.unreadable), 'file')}), first {entry.path}: "
            f"{entry.reason}.",
            hint=f"{remedy_for(send.unreadable)}, then run the command again.",
        )
    left_out = [f"{entry.path}: {entry.reason}" for entry in inventory.excluded]
    why = f" ({len(left_out):,} skipped, first {left_out[0]})" if left_out else ""
    raise NotFound(
        f"No files to send in {inventory.root}{why}.",
        hint="Name a file, or a directory that holds files. --hidden includes hidden files (resource upload).",
    )


def _packed_dicom(inventory: FileInventory, *, attach_unknown: bool) -> tuple[list[Exclusion], list[Exclusion]]:
    """The packed files that hold DICOM, and those that may hold DICOM."""
    holds = {item.path: holds_dicom(item.file) for item in inventory.packed}
    holding = [Exclusion(path=path, reason=HOLDS_DICOM) for path, known in holds.items() if known]
    unknown = [Exclusion(path=path, reason=MAY_HOLD_DICOM) for path, known in holds.items() if known is None]
    return holding, [] if attach_unknown else unknown


def _warnings(inventory: FileInventory, holding: Sequence[Exclusion], unknown: Sequence[Exclusion]) -> list[str]:
    warnings = [*inventory.notes]
    if inventory.dicom:
        some = "of the files are" if len(inventory.dicom) > 1 else "of the files is"
        warnings.append(f"{len(inventory.dicom):,} {some} DICOM (first {inventory.dicom[0]}). {_AROUND}")
    if holding:
        warnings.append(f"There is DICOM in {_some(holding)}. {_NEVER} Unpack it and use xnatctl session upload.")
    if unknown:
        warnings.append(
            f"There may be DICOM in {_some(unknown)}, which cannot be inspected. {_NEVER} If you know that there "
            "is none, add --attach-unknown."
        )
    if inventory.empty_directories:
        directories = inventory.empty_directories
        warnings.append(
            f"{len(directories):,} empty directories are not sent, first {directories[0]}."
            if len(directories) > 1
            else f"The empty directory {directories[0]} is not sent."
        )
    return warnings


def _some(entries: Sequence[Exclusion]) -> str:
    first = entries[0].path
    return f"{len(entries):,} packed files, first {first}" if len(entries) > 1 else f"the packed file {first}"
