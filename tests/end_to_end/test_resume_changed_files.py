"""A file whose bytes changed is sent again, whatever its path, size and times say; one that was only copied is not."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from xnatctl.testing.exam import write_exam

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=2, instances=3, rows=32, seed=5, clutter=False)


def last_byte(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def restored(path: Path, data: bytes) -> None:
    """Other bytes in place; everything that a program can restore is as it was."""
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (status.st_size, status.st_mtime_ns, status.st_ino)


def pixels(server) -> dict[str, int]:
    """The last byte of what the server's disk holds, by SOP Instance UID; every instance is there once."""
    import pydicom

    held: dict[str, int] = {}
    for entry in server.instances():
        assert entry["sop_instance_uid"] not in held
        held[entry["sop_instance_uid"]] = pydicom.dcmread(entry["path"]).PixelData[-1]
    return held


def on_disk(exam) -> dict[str, int]:
    return {uid: instance.path.read_bytes()[-1] for uid, instance in exam.instances.items()}


def test_of_a_directory(xnatctl, alice, sandbox, exam, tmp_path, home):
    def upload(path):
        done = xnatctl("session", "upload", path, *NAMES, "-o", "json", env=alice)
        assert done.code == 0, done.err
        return done.document["counts"]["sent"]

    assert upload(exam.directory) == 6
    first, second, *_ = sorted(instance.path for instance in exam.instances.values())
    restored(first, last_byte(first.read_bytes()))
    assert upload(exam.directory) == 1
    assert pixels(sandbox) == on_disk(exam)

    corrected = tmp_path / "corrected"
    shutil.copytree(exam.directory, corrected, symlinks=True)  # copies times, as cp -p
    assert upload(corrected) == 0, "the content is the same"
    copy = corrected / second.relative_to(exam.directory)
    restored(copy, last_byte(copy.read_bytes()))
    restored(second, copy.read_bytes())
    assert upload(corrected) == 1
    assert pixels(sandbox) == on_disk(exam)

    # A journal of an earlier version trusted path, size and time. The first run after the upgrade reads every file.
    (journal,) = (home / "state" / "xnatctl" / "journals").glob("*.sqlite")
    with closing(sqlite3.connect(journal)) as db:
        db.execute("CREATE TABLE old (name BLOB PRIMARY KEY, path BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns "
                   "INTEGER NOT NULL, digest TEXT, run INTEGER NOT NULL, outcome TEXT NOT NULL, reason BLOB, uri TEXT, "
                   "attempts INTEGER NOT NULL) WITHOUT ROWID")  # fmt: skip
        columns = "name, path, size, mtime_ns, digest, run, outcome, reason, uri, attempts"
        db.execute(f"INSERT INTO old SELECT {columns} FROM items")
        db.execute("DROP TABLE items")
        db.execute("ALTER TABLE old RENAME TO items")
        db.execute("DROP TABLE runs")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    third = max(corrected.rglob("*"))
    restored(third, last_byte(third.read_bytes()))
    assert upload(corrected) == 1
    assert upload(corrected) == 0


def test_of_an_archive_file(xnatctl, alice, sandbox, exam, tmp_path):
    path = tmp_path / "exam.tar"

    def pack(change=lambda data: data):
        path.unlink(missing_ok=True)
        with tarfile.open(path, "w") as tar:
            for number, instance in enumerate(exam.instances.values()):
                if number == 2:
                    instance.path.write_bytes(change(instance.path.read_bytes()))
                os.utime(instance.path, ns=(10**18, 10**18))
                tar.add(instance.path, f"I{number}")
        os.utime(path, ns=(10**18, 10**18))

    def upload():
        done = xnatctl("session", "upload", path, *NAMES, "-o", "json", env=alice)
        assert done.code == 0, done.err
        return done.document["counts"]["sent"]

    pack()
    assert upload() == 6
    pack()
    assert upload() == 0
    pack(last_byte)
    assert upload() == 1
    assert pixels(sandbox) == on_disk(exam)


def test_of_a_resource(xnatctl, alice, sandbox, exam, tmp_path, attached):
    assert xnatctl("session", "upload", exam.directory, *NAMES, env=alice).code == 0
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("first")
    (folder / "b.txt").write_text("other")

    def upload(*more):
        return xnatctl("resource", "upload", "e", "NOTES", folder, "-P", "DEMO", "-o", "json", *more, env=alice)

    assert upload().code == 0
    restored(folder / "a.txt", b"FIRST")
    refused = upload()
    assert refused.code == 7
    assert "a.txt" in refused.document["error"]["message"]
    replaced = upload("--overwrite")
    assert replaced.code == 0, replaced.err
    assert replaced.document["counts"]["sent"] == 1
    assert attached(sandbox, "e")["NOTES"]["a.txt"] == hashlib.sha256(b"FIRST").hexdigest()
