"""Exam roots: what is written on disk, and what is expected of the server's."""

from __future__ import annotations

import gzip
import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xnatctl.testing import write_exam

#: A resource holds these, of every kind that scanners and people leave: name in the resource -> bytes.
ODD = {
    "a b.txt": b"blank",
    "100%.txt": b"per cent",
    "a#b?.txt": b"hash",
    "a[1](2){3}.txt": b"brackets",
    "f\u00e9 \u65e5\u672c.txt": b"not ASCII",
    "x+y & z;.txt": b"plus",
    "back\\slash": b"backslash",
    "%41.txt": b"looks encoded",
    "empty": b"",
    "scan.nii.gz": gzip.compress(b"not to be unpacked", mtime=0),
    "UPPER.TXT": b"upper",
    "upper.txt": b"lower",
}


@dataclass
class Root:
    """An exam root as it lies on disk. `files` are the expected contents, label -> name -> SHA-256."""

    directory: Path
    digests: dict[str, str]
    files: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, path: str, content: bytes, label: str | None = None, name: str | None = None) -> None:
        """Write one file, expected in the resource of its top-level folder unless told otherwise."""
        full = self.directory / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(content)
        top, slash, rest = path.partition("/")
        label, name = (label or top, name or rest) if slash else (label or "MISC", name or path)
        self.files.setdefault(label, {})[name] = hashlib.sha256(content).hexdigest()

    def add_big(self, folder: str, name: str, size: int) -> None:
        """Write a file of so many bytes, which nobody holds in memory."""
        (self.directory / folder).mkdir()
        block, digest = random.Random(5).randbytes(1 << 20), hashlib.sha256()
        with (self.directory / folder / name).open("wb") as file:
            for _ in range(size >> 20):
                file.write(block)
                digest.update(block)
        self.files.setdefault(folder, {})[name] = digest.hexdigest()


def write_root(directory: Path, *, big: int = 0, full: bool = False) -> Root:
    """A small exam root; `full`: 6 series, 500 instances in every naming style, and clutter. `big` is in bytes."""
    exam = write_exam(directory, series=6 if full else 2, instances=84 if full else 4, seed=21, clutter=False)
    if full:
        for uid in list(exam.instances)[-4:]:
            exam.instances.pop(uid).path.unlink()
    root = Root(directory, exam.digests)
    root.add("Physio/pulse.log", b"pulse\n" * 100)
    root.add("Physio/run 1/resp.log", b"resp\n")
    root.add("Protocol/protocol.pdf", b"%PDF-1.4 protocol\n%%EOF\n")
    root.add("report.pdf", b"%PDF-1.4 report\n%%EOF\n")
    if full:
        for name, content in ODD.items():
            root.add(f"Odd names/{name}", content, "Odd_names", name)
        for number in range(1, 41):
            root.add(f"Protocol/deep/er/{number:03}/page.png", b"\x89PNG" + bytes([number]) * number)
        for number in range(1, 6):
            root.add(f"screenshot {number}.png", b"\x89PNG\r\n" + bytes([number]) * 1000)
        (directory / "Empty").mkdir()
        (directory / "series 1" / "notes.txt").write_bytes(b"beside images, stays behind\n")
        (directory / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    if big:
        root.add_big("Raw", "big.dat", big)
    return root


def resources_on_disk(sandbox: Any, label: str = "e") -> dict[str, dict[str, str]]:
    """What the server holds in the session's resources: label -> name -> SHA-256, of what its catalog lists.

    A file on disk that no catalog lists, and one that is listed and not there, fail.
    """
    (session,) = [e for e in sandbox.state.experiments.values() if e.label == label]
    found: dict[str, dict[str, str]] = {}
    for resource in session.resources:
        directory = Path(resource.directory)
        on_disk = {
            path.relative_to(directory).as_posix(): _digest(path)
            for path in directory.rglob("*")
            if path.is_file() and not path.name.endswith("_catalog.xml")
        }
        assert set(on_disk) == set(resource.entries), resource.label
        assert resource.label not in found, "a label stands for one resource"
        found[resource.label] = on_disk
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def writes(sandbox: Any) -> list[str]:
    """Requests that carried a file, as `METHOD path`."""
    return [
        f"{request['method']} {request['path']}"
        for request in sandbox.requests
        if "services/import" in request["path"]
        or (request["method"] in ("PUT", "POST") and "/files" in request["path"])
    ]
