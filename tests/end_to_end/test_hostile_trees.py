"""Odd names and traps on disk: what is DICOM arrives, nothing hangs, nothing is written elsewhere, no byte is obeyed."""

from __future__ import annotations

import os
import random
import re
import socket
import unicodedata
from pathlib import Path

import pytest

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")
#: What a terminal would obey, and lone surrogates, which are no text.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
ODD = [
    b"new\nline", b"x\nError: spoofed", b"\x1b[2J\x1b]0;owned\x07", b"\xff\xfe not UTF-8", b"x" * 255, b"-rf", b"--password=x", b"'; rm -rf ~ #",
    b"tab\tand\rreturn", "right\u202eleft".encode(), unicodedata.normalize("NFC", "é").encode(),
    unicodedata.normalize("NFD", "é").encode(), b"CASE", b"case", b"CON", b"a:b", b"back\\slash", b"%2e%2e%2f", b" lead",
    b"trail ", b"dot.", b"*?[]", b"$(id)", b"null.dcm",
]  # fmt: skip


@pytest.fixture
def tree(own_exam):
    """The instances under odd names, three folders deep, among traps."""
    root = os.fsencode(own_exam.directory)
    records = sorted(own_exam.instances.values(), key=lambda record: record.sop_instance_uid)
    for record, name in zip(records, ODD, strict=False):
        folder = os.path.join(root, b"odd", name[:40])
        os.makedirs(folder, exist_ok=True)
        os.rename(record.path, os.path.join(folder, name))
    traps = own_exam.directory / "traps"
    traps.mkdir()
    os.mkfifo(traps / "fifo.dcm")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(traps / "s.dcm"))
    (traps / "loop").symlink_to("..")
    (traps / "endless").symlink_to("/dev/zero")
    (traps / "secrets").symlink_to("/etc")
    return own_exam


def written(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    "mode", ["tar", pytest.param("zip", marks=pytest.mark.once), pytest.param("gradual", marks=pytest.mark.once)]
)
def test_it_is_uploaded_whole_and_nothing_else_happens(xnatctl, sandbox, alice, tree, tmp_path, assert_exactly, mode):
    before = written(tmp_path)
    done = xnatctl("session", "upload", tree.directory, *NAMES, "--mode", mode, "-v", env=alice)
    assert done.code == 0, done.err
    assert not OBEYED.search(done.out)
    assert not OBEYED.search(done.err)
    assert_exactly(sandbox, tree.digests, place="archive", label="e")
    new = {path for path in written(tmp_path) - before if not path.startswith(("xnat/", "home/state/xnatctl/"))}
    assert new == set()


@pytest.mark.once
def test_every_word_about_it_can_be_printed_and_parsed(xnatctl, alice, tree, sandbox):
    """A session that fails names the files; status and plan name them too."""
    sandbox.switches.rejected_instances = set(tree.instances)
    for arguments in (
        ("session", "upload", tree.directory, *NAMES, "--dry-run"),
        ("session", "upload", tree.directory, *NAMES, "--mode", "gradual"),
        ("session", "verify", tree.directory, *NAMES),
        ("upload", "status", "DEMO/e"),
    ):
        for output in ("table", "csv", "yaml", "ndjson"):
            done = xnatctl(*arguments, "-o", output, env=alice)
            assert "Traceback" not in done.err
            assert not OBEYED.search(done.err), (arguments, output)
            assert not OBEYED.search(done.out), (arguments, output)
        document = xnatctl(*arguments, "-o", "json", env=alice).document
        if "items" in document:
            paths = {item["path"] for item in document["items"]}
            assert len(paths) == len(tree.instances)


@pytest.mark.once
@pytest.mark.parametrize("seed", range(4))
def test_mutants_among_the_instances_harm_nobody(xnatctl, sandbox, alice, own_exam, seed):
    """Damaged files: each is sent as it is, left out or named; what is called delivered is on the server, no more."""
    dice = random.Random(f"mutants {seed}")
    for record in sorted(own_exam.instances.values(), key=lambda record: record.sop_instance_uid)[:30]:
        data = bytearray(record.path.read_bytes())
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(132, 700)
            data[place : place + 4] = dice.choice([b"\xff\xff\xff\xff", b"", dice.randbytes(4), b"\0\0\0\0"])
        record.path.write_bytes(data)
    done = xnatctl("session", "upload", own_exam.directory, *NAMES, "-o", "json", env=alice)
    assert "Traceback" not in done.err
    report = done.document
    assert done.code in (5, 6, 7), "damage is never passed over in silence"
    if done.code == 7:
        assert sandbox.instances() == []
        return
    paths = [item["path"] for item in report["items"]] + [entry["path"] for entry in report["excluded"]]
    assert len(paths) == len(set(paths))
    assert {record.path for record in own_exam.instances.values()} <= {own_exam.directory / path for path in paths}
    # The damage is in the heads, which the server writes anew; the 2048 bytes of pixel data tell the instances apart.
    stored = {Path(entry["path"]).read_bytes()[-2048:] for entry in sandbox.instances()}
    for item in report["items"]:
        there = (own_exam.directory / item["path"]).read_bytes()[-2048:] in stored
        assert there or item["outcome"] not in ("accepted", "verified"), item


@pytest.mark.parametrize("trouble", ["filtered", "refused", "resource"])
def test_a_line_break_in_a_name_says_nothing_of_its_own(xnatctl, sandbox, alice, own_exam, trouble):
    """Names that would look like words of ours: as items, as what is left out, in an error, a warning, and a list."""
    name = "x\nError: spoofed"
    for number, record in enumerate(own_exam.instances.values()):
        record.path.rename(record.path.with_name(f"{name} {number}"))
    (own_exam.directory / f"{name}.txt").write_text("text")
    upload = ("session", "upload", own_exam.directory, *NAMES)
    if trouble == "filtered":
        sandbox.switches.rejected_instances = set(own_exam.instances)
        runs = [upload, ("upload", "status", "DEMO/e"), ("session", "verify", own_exam.directory, *NAMES)]
    elif trouble == "refused":
        original = next(path for path in own_exam.directory.rglob(f"{name} 0"))
        (original.parent / f"{name} twin").write_bytes(original.read_bytes()[:-2] + b"zz")
        runs = [upload, (*upload, "--dry-run")]
    else:
        assert xnatctl(*upload, env=alice).code == 0
        runs = [("resource", "upload", "e", "R", own_exam.directory, "-P", "DEMO"), ("upload", "status", "DEMO/e/R")]
    said = ""
    for arguments in runs:
        for extra in ((), ("-q",)):
            done = xnatctl(*arguments, *extra, env=alice)
            said += done.out + done.err
            for text in (done.out, done.err):
                assert not re.search("^Error: spoofed", text, re.MULTILINE), (arguments, text)
    assert "x\\x0aError: spoofed" in said
