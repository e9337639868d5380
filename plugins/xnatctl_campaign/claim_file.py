"""The file of a claim: `NAME.GENERATION`, made exclusively, and rewritten in place by its owner alone.

The first line has a fixed length and holds the beat, a counter, and whether the claim has ended. The second line is the
holder as JSON. A file that was not written to its end has no holder.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from xnatctl.api.system import create_private, open_to_write
from xnatctl_campaign.holder import Holder

#: More than a claim holds.
_LONGEST: Final = 4096
#: The file was removed, or a network file system knows its handle no longer.
_GONE: Final = frozenset({errno.ENOENT, errno.ESTALE})


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRecord:
    """The content of the file of a claim."""

    beat: int
    ended: bool
    holder: Holder | None


@dataclass(frozen=True, slots=True)
class ClaimName:
    """What is claimed: the name without generation, in a folder of claims."""

    folder: Path
    name: str

    def path(self, generation: int) -> Path:
        """The file of the claim of a generation."""
        return self.folder / f"{self.name}.{generation}"

    def generations(self) -> list[int]:
        """The generations that exist, in order.

        Opening the folder to list it makes a network file system ask its server again for what the folder holds
        (close-to-open consistency). A look-up of one name may be answered from a cache of names that did not exist.
        """
        prefix = f"{self.name}."
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        ends = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        return sorted(int(end) for end in ends if end.isdecimal())

    def latest(self) -> int:
        """The latest generation; 0 if there is none."""
        return max(self.generations(), default=0)


def create(path: Path, holder: Holder) -> bool:
    """Make the file of a claim; False if it exists. Raises OSError."""
    path.parent.mkdir(exist_ok=True)
    try:
        descriptor = create_private(path)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, _head(1, ended=False) + json.dumps(asdict(holder)).encode("ascii") + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def rewrite(path: Path, beat: int, *, ended: bool) -> None:
    """Write the beat of a claim anew. Raises OSError.

    Closing the file sends it to the server of a network file system; waiting for a disk is not needed, since a beat
    that a power cut removes had an owner that the power cut removed too.
    """
    descriptor = open_to_write(path)
    try:
        os.write(descriptor, _head(beat, ended=ended))
    finally:
        os.close(descriptor)


def read(path: Path) -> ClaimRecord | None:
    """The content of a claim; None if the file does not exist. Raises OSError."""
    try:
        with open(path, "rb") as file:
            content = file.read(_LONGEST)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    head, _, rest = content.partition(b"\n")
    try:
        beat, state = head.split()
        return ClaimRecord(beat=int(beat), ended=state == b"ended", holder=Holder(**json.loads(rest)))
    except (ValueError, TypeError):
        return ClaimRecord(beat=0, ended=False, holder=None)


def names_in(folder: Path) -> Iterator[tuple[str, int]]:
    """The names in a folder of claims, each with its latest generation."""
    found: dict[str, int] = {}
    for entry in os.listdir(folder):
        name, _, generation = entry.rpartition(".")
        if name and generation.isdecimal():
            found[name] = max(found.get(name, 0), int(generation))
    yield from found.items()


def _head(beat: int, *, ended: bool) -> bytes:
    return b"%012d %s\n" % (beat, b"ended" if ended else b"held ")
