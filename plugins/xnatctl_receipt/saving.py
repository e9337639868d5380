"""Writes a receipt: atomically, durably, and never over another file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from xnatctl.api import UsageError
from xnatctl.api.system import Folder, reason, replace

#: Suffix of the name of a signature.
SIGNATURE = ".sig"


def check_folder(path: Path) -> None:
    """Raise UsageError if no file can be made in the folder of a path."""
    try:
        with Folder(str(path.parent)) as folder:
            name = _temporary(path)
            os.close(folder.create_file(name))
            folder.remove(name)
    except OSError as error:
        raise UsageError(
            f"Cannot write the receipt {path}: {reason(error)}.", hint="Name a folder that exists and can be written."
        ) from error


def save(path: Path, content: bytes, *, replaces: bool) -> Path:
    """Write a file, and return its path: that asked for, or a free one if another file has appeared there.

    `replaces`: the file at this path may be replaced. Raises OSError.
    """
    with Folder(str(path.parent)) as folder:
        name = _temporary(path)
        descriptor = folder.create_file(name)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            if replaces:
                replace(path.with_name(name), path)
                name = ""
            else:
                path = _link(folder, name, path)
        finally:
            if name:
                with suppress(OSError):
                    folder.remove(name)
        folder.sync()
    return path


def _link(folder: Folder, name: str, path: Path) -> Path:
    """Give the file its name, which no other file may have; a folder without links is looked at first."""
    for free in chain((path,), free_names(path)):
        try:
            folder.link(name, folder, free.name)
        except FileExistsError:
            continue
        except OSError:
            if _exists(folder, free.name):
                continue
            folder.rename(name, free.name)
        return free
    raise AssertionError("there is always a free name")


def _exists(folder: Folder, name: str) -> bool:
    try:
        folder.status(name)
    except OSError:
        return False
    return True


def next_free(path: Path, taken: Callable[[Path], bool] = os.path.lexists) -> Path:
    """The first path of this name with a number that no file has."""
    return next(free for free in free_names(path) if not taken(free))


def free_names(path: Path) -> Iterator[Path]:
    """The names with numbers that follow a name: `receipt-2.json`, `receipt-3.json`."""
    number = 2
    while True:
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1


def _temporary(path: Path) -> str:
    return f".{path.name}.{os.getpid()}.part"
