"""Notes and warnings about an inventory, for people."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from xnatctl.model.words import listed


def pixel_notes(count: int, first: str) -> tuple[str, ...]:
    """A note on images without Pixel Data: a file that was cut off exactly there looks complete."""
    if not count:
        return ()
    images = "1 file is an image" if count == 1 else f"{count:,} files are images"
    return (f"{images} without Pixel Data, first {first}: compare with the original if that is unexpected.",)


def patient_warnings(patients: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Warnings about studies with more than one patient; `patients` are hashes by study."""
    return tuple(f"Study {uid} names more than one patient." for uid, ids in patients.items() if len(ids) > 1)


def paths_without_dicom(places: Mapping[str, str], found: Iterable[str]) -> Iterator[str]:
    """A note on those of several paths that hold no DICOM, such as a disk that is not mounted.

    `places` are the paths by their names in the inventory; `found` are the names of all DICOM.
    """
    missing = dict(places)
    for name in found:
        if not missing:
            return
        missing.pop("", None)
        above = name
        while above and missing:
            missing.pop(above, None)
            above = above.rpartition("/")[0]
    if missing:
        hold = "holds no DICOM, so nothing of it" if len(missing) == 1 else "hold no DICOM, so nothing of them"
        yield f"{listed(list(missing.values()))} {hold} is sent."
