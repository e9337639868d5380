"""Notes and warnings about an inventory, for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def pixel_notes(count: int, first: str) -> tuple[str, ...]:
    """A note on images without Pixel Data: a file that was cut off exactly there looks complete."""
    if not count:
        return ()
    images = "1 file is an image" if count == 1 else f"{count:,} files are images"
    return (f"{images} without Pixel Data, first {first}: compare with the original if that is unexpected.",)


def patient_warnings(patients: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Warnings about studies with more than one patient; `patients` are hashes by study."""
    return tuple(f"Study {uid} names more than one patient." for uid, ids in patients.items() if len(ids) > 1)
