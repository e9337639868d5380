"""Trees composed at random from whole instances: wrapped, joined, cut, renamed, linked.

The composer knows what must arrive and what must be named, because it made everything itself. `XNATCTL_LAB=full` composes
many trees, and `XNATCTL_LAB_SEED` chooses others.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from dataclasses import dataclass, field

import pytest
from kept import assert_kept

from xnatctl.testing.exam import write_exam

pytestmark = [pytest.mark.once, pytest.mark.lab]

NAMES = (
    "I%d",
    "%d.dcm",
    ".I%d",
    "a b#%d",
    "IM.%04d",
    "%d.txt",
    "ü%d",
    "Thumbs.db.%d",
    "%d.zip",
    "._%d",
    "new\nline %d",
)
FOLDERS = ("", "S1", ".hidden", "S1/.deep/S3", "__MACOSX", "x" * 120 + "/" + "y" * 120)
PADDINGS = (b"", b"\n", b"\r\n", bytes(1), bytes(512), b"\xff" * 30, b"text")


def packed_tar(members, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def packed_zip(members, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name.replace("\n", "_"), data)
    return out.getvalue()


WRAPPERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda data: packed_zip([("I", data)]),
    "stored zip": lambda data: packed_zip([("I", data)], zipfile.ZIP_STORED),
    "tar": lambda data: packed_tar([("I", data)]),
    "tar.gz": lambda data: gzip.compress(packed_tar([("I", data)])),
    "tar behind a tar": lambda data: packed_tar([("note", b"text")]) + packed_tar([("I", data)]),
    "program": lambda data: b"MZ" + bytes(999) + packed_zip([("I", data)]),
    "7z": lambda data: b"7z\xbc\xaf\x27\x1c" + data,
}


@dataclass
class Tree:
    """What was composed: `arriving` must be on the server, of `named` every path must be in the report."""

    arriving: dict[str, bytes] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    files: list[tuple[str, bytes]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)

    def write(self, root):
        """The tree as a directory."""
        for name, data in self.files:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for name, target in self.links:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(os.path.relpath(root / target, path.parent))


def compose(dice, instances):
    """Each of `instances` (pairs of UID and bytes) somewhere, in some way."""
    tree = Tree()
    for number, (uid, whole) in enumerate(instances):
        data = whole
        folder = dice.choice(FOLDERS)
        name = "/".join(filter(None, (folder, dice.choice(NAMES) % number)))
        way = dice.choices(("whole", "padded", "twice", "linked", "cut", "joined", "packed"), (8, 3, 1, 1, 1, 1, 1))[0]
        if way == "packed":
            data = WRAPPERS[dice.choice(sorted(WRAPPERS))](data)
            if dice.random() < 0.3:
                data = WRAPPERS[dice.choice(sorted(WRAPPERS))](data)
        elif way == "cut":
            # Elements end at even places; a file that ends behind one of them cannot be told from a whole one.
            data = data[: dice.randrange(201, len(data), 2)]
        elif way == "joined":
            data += bytes(dice.choice((0, 2, 512))) + data
        elif way == "padded":
            data += dice.choice(PADDINGS)
        tree.files.append((name, data))
        if way in ("cut", "joined", "packed"):
            tree.named.add(name)
            continue
        tree.arriving[uid] = data
        if way == "twice":
            tree.files.append((f"again/{number}", data))
        elif way == "linked":
            tree.links.append((f"links/{number}", name))
    dice.shuffle(tree.files)
    return tree


ROOTS = ("directory", "tar", "gnu tar", "tar.gz", "tar.xz", "zip", "two tars", "two zips")


def as_root(kind, tree, path):
    """The tree as what is named on the command line."""
    if kind == "directory":
        path.mkdir()
        tree.write(path)
        return path
    half = len(tree.files) // 2
    make = {
        "tar": packed_tar,
        "gnu tar": lambda files: packed_tar(files, tarfile.GNU_FORMAT),
        "tar.gz": lambda files: gzip.compress(packed_tar(files)),
        "tar.xz": lambda files: lzma.compress(packed_tar(files)),
        "zip": packed_zip,
        "two tars": lambda files: packed_tar(files[:half]) + packed_tar(files[half:]),
        "two zips": lambda files: packed_zip(files[:half]) + packed_zip(files[half:]),
    }[kind]
    path.write_bytes(make(tree.files))
    return path


@pytest.fixture
def instances(tmp_path):
    """A study of 24 instances."""
    exam = write_exam(tmp_path / "source", series=2, instances=12, seed=5, clutter=False)
    return [(uid, record.path.read_bytes()) for uid, record in exam.instances.items()]


def test_what_a_composed_tree_holds_arrives_or_is_named(lab, dice, full, instances, tmp_path):
    for number in range(60 if full else 4):
        kind = dice.choice(ROOTS) if full else ROOTS[(number * 3) % len(ROOTS)]
        tree = compose(dice, instances)
        source = as_root(kind, tree, tmp_path / f"tree{number}")
        lab.arguments = ("session", "upload", str(source), "-P", "DEMO", "-S", "s", "-E", f"e{number}", "-o", "json")
        code, report = lab.run()
        said = (number, kind, report and report["error"], tree.named)
        assert code == (5 if tree.named else 0), said
        stored = {entry["sop_instance_uid"]: entry["path"] for entry in lab.sandbox.instances()}
        assert set(stored) == set(tree.arriving), said
        for uid, path in stored.items():
            sent = tmp_path / "sent"
            sent.write_bytes(tree.arriving[uid])
            assert_kept(path, sent)
        left = {item["path"] for item in report["items"] if item["outcome"] not in ("verified", "accepted")}
        expected = {name.replace("\n", "_") for name in tree.named} if "zip" in kind else tree.named
        assert left == expected, json.dumps(sorted(left ^ expected))
        lab.start_over()
