"""Divides an exam: images to the session, top-level folders and files to resources.

Content decides, not names: a folder that holds DICOM at any depth, also damaged, duplicate or inside an archive file,
is not a resource, because resources bypass the project's anonymisation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from xnatctl.api import Exclusion, UploadItem
from xnatctl.api.commands import Inventory
from xnatctl_exam.choices import Choices
from xnatctl_exam.naming import Group, check_label, join, name_folders

_NESTED = "not DICOM, in a folder with DICOM (--attach-nested LABEL attaches it)"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExamLayout:
    """`resources` in the order of their labels, `left_out` with reasons, and `notes` for the user.

    `unreadable` files may be images, so the session is not complete without them; in a folder without DICOM they belong
    to its resource.
    """

    resources: tuple[Group, ...]
    left_out: tuple[Exclusion, ...]
    notes: tuple[str, ...]
    unreadable: tuple[Exclusion, ...] = ()


def sort_exam(inventory: Inventory, choices: Choices) -> ExamLayout:
    """Divide the files of an exam root; `inventory` includes archive contents (`look_inside`).

    Raises UsageError for an invalid label, Refused if resources would be mixed.
    """
    check_label(choices.misc_label, "--misc-label")
    if choices.attach_nested is not None:
        check_label(choices.attach_nested, "--attach-nested")
    with_dicom = {_top(path) for path in inventory.dicom if "/" in path}
    folders: dict[str, list[UploadItem]] = {}
    loose: list[UploadItem] = []
    nested: list[UploadItem] = []
    for item in inventory.others:
        top = _top(item.path)
        if item.path in inventory.hidden:
            continue
        if top == item.path:
            loose.append(item)
        elif top in with_dicom:
            nested.append(item)
        else:
            folders.setdefault(top, []).append(item)
    notes = _hidden_below(inventory, with_dicom, folders, loose)
    groups: list[Group] = []
    not_read = [entry for entry in inventory.unreadable if not (choices.attach_only and entry.path in inventory.dicom)]
    unreadable = {top: [e for e in not_read if _top(e.path) == top != e.path] for top in folders}
    if not choices.skip_resources:
        groups, more = _groups(folders, loose, nested, unreadable, choices)
        notes += more
    taken = {entry.path for group in groups for entry in group.unreadable}
    attached = {item.path for group in groups for item in group.items}
    reasons = {item.path: _NESTED for item in nested}
    return ExamLayout(
        resources=tuple(groups),
        left_out=tuple(_left_out(inventory, attached, reasons, choices)),
        notes=tuple(notes),
        unreadable=tuple(entry for entry in not_read if entry.path not in taken),
    )


def _top(path: str) -> str:
    return path.partition("/")[0]


def _groups(
    folders: Mapping[str, Sequence[UploadItem]],
    loose: Sequence[UploadItem],
    nested: Sequence[UploadItem],
    unreadable: Mapping[str, Sequence[Exclusion]],
    choices: Choices,
) -> tuple[list[Group], list[str]]:
    """The resources, each with the names that its files get there."""
    inside = {
        folder: [replace(item, resource_name=item.path.partition("/")[2]) for item in items]
        for folder, items in folders.items()
    }
    groups, notes = name_folders(inside, choices.labels, unreadable)
    if loose:
        groups.append(Group(label=choices.misc_label, origin="the files at the top", items=tuple(loose)))
    if nested and choices.attach_nested is not None:
        origin = "the files beside DICOM"
        groups.append(Group(label=choices.attach_nested, origin=origin, items=tuple(nested)))
    joined, more = join(groups)
    return joined, [*notes, *more]


def _hidden_below(
    inventory: Inventory, with_dicom: set[str], folders: dict[str, list[UploadItem]], loose: Sequence[UploadItem]
) -> list[str]:
    """A note if everything is in one folder, which is probably the exam root."""
    if len(with_dicom) != 1 or folders or loose or any("/" not in path for path in inventory.dicom):
        return []
    (only,) = with_dicom
    below = {item.path.split("/")[1] for item in inventory.others if item.path.count("/") > 1}
    images = {path.split("/")[1] for path in inventory.dicom if path.count("/") > 1}
    if not below - images:
        return []
    inner = os.path.join(inventory.root, only)
    return [f"Everything lies in {only}; its folders without DICOM become resources when the exam root is {inner}."]


def _left_out(inventory: Inventory, attached: set[str], reasons: dict[str, str], choices: Choices) -> list[Exclusion]:
    """All files that are not sent, with the reason."""
    others = {item.path for item in inventory.others}
    left = []
    for entry in inventory.excluded:
        if entry.path in attached:
            continue
        reason = reasons.get(entry.path, entry.reason)
        if choices.skip_resources and entry.path in others:
            reason = "not DICOM (--skip-resources)"
        left.append(Exclusion(path=entry.path, reason=reason))
    left += [Exclusion(path=path, reason="empty folder") for path in inventory.empty_directories if path != "."]
    if choices.attach_only:
        dicom = [item.path for item in inventory.items] + [entry.path for entry in inventory.invalid]
        dicom += [entry.path for entry in inventory.unreadable if entry.path in inventory.dicom]
        left += [Exclusion(path=path, reason="DICOM (--attach-only)") for path in dicom]
    return left
