"""Files that change while an upload runs: noticed, named, never mixed with what they were; the others are not harmed."""

from __future__ import annotations

import os
import time

import pytest

pytestmark = [pytest.mark.once, pytest.mark.lab]
IMPORT = {"path": "/services/import"}


def _replace(path):
    other = path.with_name(".other")
    other.write_bytes(_flipped(path.read_bytes()))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)  # the same size and time; only the inode tells


def _flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


CHANGES = {
    "grow": lambda path: path.write_bytes(path.read_bytes() + b"\0\0"),
    "shrink": lambda path: os.truncate(path, path.stat().st_size - 2),
    "rewrite": lambda path: path.write_bytes(_flipped(path.read_bytes())),
    "replace": _replace,
    "delete": lambda path: path.unlink(),
    "become a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


def begin(lab, mode, fault="delay"):
    """Start the upload, and return it when the server has the first request, and holds it."""
    lab.sandbox.faults.load([{"match": IMPORT, "nth": 1, "action": fault, "seconds": 1000}])
    running = lab.upload(mode, "--compress", "never").start() if mode != "gradual" else lab.upload(mode).start()
    while not [request for request in lab.sandbox.requests if "services/import" in request["path"]]:
        time.sleep(0.01)
        assert running.poll() is None, running.err
    return running


def document(running):
    import json

    out, err = running.communicate()
    assert b"Traceback" not in err
    return running.wait(), json.loads(out)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", ["tar", "zip", "gradual"])
def test_a_file_that_changes_before_its_turn_is_named_and_costs_itself_alone(lab, assert_exactly, mode, change):
    victim = max(lab.exam.instances.values(), key=lambda instance: str(instance.path))
    before = victim.path.read_bytes()
    running = begin(lab, mode)
    CHANGES[change](victim.path)
    lab.sandbox.faults.end()
    code, report = document(running)
    assert code == 5, report["error"]
    assert report["status"] == "partial"
    assert [item["path"] for item in report["items"] if item["outcome"] == "changed"] == [
        str(victim.path.relative_to(lab.exam.directory))
    ]
    assert (report["counts"]["sent"], report["counts"]["failed"]) == (59, 1)
    assert victim.path.name in report["error"]["message"]
    assert victim.sop_instance_uid not in lab.arrivals()
    assert not lab.sandbox.state.experiments, "nothing is archived while a file is missing"
    assert report["next"]
    if change != "replace":
        victim.path.unlink(missing_ok=True)
        victim.path.write_bytes(before)
    code, report = lab.run()
    assert code == 0, report["error"]
    assert (report["counts"]["sent"], report["counts"]["skipped"]) == (1, 59)
    expected = {**lab.exam.digests, victim.sop_instance_uid: lab.digest(victim.path)}
    assert_exactly(lab.sandbox, expected, place="archive", label="e")


@pytest.mark.parametrize("mode", ["tar", "gradual"])
def test_a_file_that_changes_while_it_is_sent_never_arrives_mixed(lab, mode):
    """Much larger than what sockets hold: the beginning is on its way, the end is not yet read."""
    from xnatctl.testing.exam import write_exam

    for instance in lab.exam.instances.values():
        instance.path.unlink()
    large = write_exam(lab.exam.directory, series=1, instances=1, rows=2048, columns=8192, seed=3, clutter=False)
    ((uid, instance),) = large.instances.items()
    running = begin(lab, mode)
    with instance.path.open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"changed under way")
    lab.sandbox.faults.end()
    code, report = document(running)
    assert code == 5, report["error"]
    assert [(item["sop_instance_uid"], item["outcome"]) for item in report["items"]] == [(uid, "changed")]
    assert lab.sandbox.instances() == []
    code, report = lab.run()
    assert code == 0, report["error"]
    assert [entry["sha256"] for entry in lab.sandbox.instances()] == [lab.digest(instance.path)]


def _flip_in_place(path):
    """Other content in the same file, with the modification time restored: only the change time tells."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(_flipped(path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("remembers", [True, False])
def test_content_that_changes_after_it_was_sent_is_noticed_although_times_are_restored(lab, assert_exactly, remembers):
    first, second, *_ = [instance.path for instance in lab.exam.instances.values()]
    lab.sandbox.faults.load(
        [{"match": {"method": "POST", "path": "direct-archive"}, "action": "delay", "seconds": 1000}]
    )
    running = lab.upload("tar", *(() if remembers else ("--no-resume",))).start()
    while not [request for request in lab.sandbox.requests if "direct-archive" in request["path"]]:
        time.sleep(0.01)
        assert running.poll() is None, running.err
    _flip_in_place(first)
    second.chmod(0o600)  # moves the change time as well
    lab.sandbox.faults.end()
    code, report = document(running)
    assert code == 5
    assert [item["path"] for item in report["items"] if item["outcome"] == "changed"] == [
        str(first.relative_to(lab.exam.directory))
    ]
    code, report = lab.run()
    assert code == 0, report["error"]
    expected = {uid: lab.digest(instance.path) for uid, instance in lab.exam.instances.items()}
    assert_exactly(lab.sandbox, expected, place="archive", label="e")


def test_a_file_of_an_exam_that_becomes_an_image_meanwhile_is_not_attached(lab):
    """Resources bypass anonymisation, so the content must be that which was looked at."""
    victim = lab.exam.directory / "Physio" / "pulse.log"
    victim.parent.mkdir()
    image = next(iter(lab.exam.instances.values())).path.read_bytes()
    victim.write_bytes(b"x" * len(image))
    status = victim.stat()
    lab.sandbox.faults.load([{"match": IMPORT, "nth": 1, "action": "delay", "seconds": 1000}])
    lab.upload("tar")
    lab.arguments = ("session", "upload-exam", *lab.arguments[2:])
    running = lab.start()
    while not [request for request in lab.sandbox.requests if "services/import" in request["path"]]:
        time.sleep(0.01)
        assert running.poll() is None, running.err
    with victim.open("r+b") as file:
        file.write(image)
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    lab.sandbox.faults.end()
    code, report = document(running)
    assert code == 5
    assert "Physio/pulse.log" in report["error"]["message"]
    assert [path for path in lab.sandbox.directory.rglob("*.dcm") if path.read_bytes() == image]
    assert not [path for path in lab.sandbox.directory.rglob("pulse.log") if path.stat().st_size]
