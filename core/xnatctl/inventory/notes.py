"""What a person should read about an inventory."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def pixel_notes(count: int, first: str) -> tuple[str, ...]:
    """A word on images without Pixel Data: by its lengths, a file that was cut off exactly there is whole."""
    if not count:
        return ()
    images = "1 file is an image" if count == 1 else f"{count} files are images"
    return (f"{images} without Pixel Data, first {first}: compare with the original if that is unexpected.",)


def patient_warnings(patients: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """What is to be said of studies that more than one patient is in; hashed patients by study."""
    return tuple(f"Study {uid} names more than one patient." for uid, ids in patients.items() if len(ids) > 1)
