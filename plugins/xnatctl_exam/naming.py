"""Labels of resources: maps folders to resources, and refuses to mix files.

Every server must keep a label unchanged: letters, digits, `_` and `-`, but not only digits, which XNAT reads as the ID
of a resource (xnat-api 2.4, 4.5). Other folder names are converted, which the plan reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from xnatctl.api import Exclusion, Refused, ResourceRef, UploadItem, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Files that become one resource.

    `origin` describes where they are; `asked` is False if the label differs from the folder name. `unreadable` files
    belong to them and cannot be sent.
    """

    label: str
    origin: str
    items: tuple[UploadItem, ...]
    asked: bool = True
    unreadable: tuple[Exclusion, ...] = ()


def check_label(label: str, flag: str) -> None:
    """Raise UsageError for a label from the command line that XNAT would change."""
    if (problem := ResourceRef.label_problem(label)) is not None:
        hint = f"Use {ResourceRef.clean_label(label)}." if label else None
        raise UsageError(f"{flag} {label!r} cannot be the label of a resource: {problem}.", hint=hint)


def name_folders(
    folders: Mapping[str, Sequence[UploadItem]],
    chosen: Mapping[str, str],
    unreadable: Mapping[str, Sequence[Exclusion]],
) -> tuple[list[Group], list[str]]:
    """One group for each folder, and notes about their labels.

    `chosen` are labels by folder. Raises UsageError for an unknown folder or an invalid label.
    """
    for folder, label in chosen.items():
        check_label(label, f"--resource-label {folder}=")
        if folder not in folders:
            there = ", ".join(sorted(folders)) or "none"
            raise UsageError(
                f"--resource-label names {folder}, which is not a folder that can be attached.",
                hint=f"There are: {there}.",
            )
    groups, notes = [], []
    for folder, items in folders.items():
        label = chosen.get(folder) or ResourceRef.clean_label(folder)
        if folder not in chosen and label != folder:
            notes.append(f"Folder {folder} becomes resource {label}: {ResourceRef.label_problem(folder)}.")
        asked = folder in chosen or label == folder
        bad = tuple(unreadable.get(folder, ()))
        groups.append(Group(label=label, origin=f"{folder}/", items=tuple(items), asked=asked, unreadable=bad))
    return groups, notes


def join(groups: Sequence[Group]) -> tuple[list[Group], list[str]]:
    """Join groups with the same label, in label order; also returns notes.

    Raises Refused if files would be mixed: labels that differ only in case, folders whose converted names are equal,
    and two files of one name.
    """
    by_label: dict[str, list[Group]] = {}
    for group in groups:
        by_label.setdefault(group.label.casefold(), []).append(group)
    joined, notes = [], []
    for same in by_label.values():
        first = same[0]
        _refuse_mixing(same)
        if len(same) > 1:
            notes.append(f"{_list(group.origin for group in same)} go together into resource {first.label}.")
        items = tuple(item for group in same for item in group.items)
        unreadable = tuple(entry for group in same for entry in group.unreadable)
        _refuse_clashes(first.label, items)
        origin = _list(group.origin for group in same)
        joined.append(replace(first, origin=origin, items=items, unreadable=unreadable))
    return sorted(joined, key=lambda group: group.label), notes


def _refuse_mixing(groups: Sequence[Group]) -> None:
    origins = _list(group.origin for group in groups)
    labels = sorted({group.label for group in groups})
    if len(labels) > 1:
        raise Refused(
            f"{origins} would become resources {_list(labels)}, which differ only in case; some servers would "
            "store them in one place.",
            hint=_OWN_LABEL,
        )
    if len(groups) > 1 and not all(group.asked for group in groups):
        raise Refused(f"{origins} would all become resource {labels[0]}.", hint=_OWN_LABEL)


_OWN_LABEL = "Give one of them another label: --resource-label FOLDER=LABEL, or --misc-label, --attach-nested."


def _refuse_clashes(label: str, items: Sequence[UploadItem]) -> None:
    """Two files of one name, or a file where the other has a folder."""
    names: dict[str, UploadItem] = {}
    for item in items:
        if (other := names.setdefault(item.name, item)) is not item:
            raise _clash(label, other, item)
    for item in items:
        folder = item.name.rpartition("/")[0]
        while folder:
            if folder in names:
                raise _clash(label, names[folder], item)
            folder = folder.rpartition("/")[0]


def _clash(label: str, first: UploadItem, second: UploadItem) -> Refused:
    return Refused(f"{first.path} and {second.path} would overwrite each other in resource {label}.", hint=_OWN_LABEL)


def _list(words: object) -> str:
    known = list(dict.fromkeys(words))  # type: ignore[call-overload]
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"
