"""Receipts of real uploads: what they say is what is on disk and on the server, and what changes later is found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time

import pytest
from studies import NAMES as SPLIT
from studies import VISITS, write_study
from systems import assert_private, needs_signals

from xnatctl_receipt.chain import read_chain, write_chain
from xnatctl_sandbox.server import Sandbox

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")


@pytest.fixture
def upload(xnatctl, alice):
    def run(path, *more, env=alice, names=NAMES, command=("session", "upload")):
        return xnatctl(*command, path, *names, *more, env=env)

    return run


@pytest.fixture
def verify(xnatctl, alice):
    """`receipt verify`, as a document, with its exit code."""

    def run(*arguments, env=alice):
        done = xnatctl("receipt", "verify", *arguments, "-o", "json", env=env)
        return done.code, done.document

    return run


def entries_of(path):
    return json.loads(path.read_text())["entries"]


def digests_of(path):
    return {one["sop_instance_uid"]: one["sha256"] for one in entries_of(path) if one["kind"] == "instance"}


def by_path(exam):
    return {one.sop_instance_uid: hashlib.sha256(one.path.read_bytes()).hexdigest() for one in exam.instances.values()}


@pytest.mark.parametrize(
    "mode", ["tar", pytest.param("zip", marks=pytest.mark.lab), pytest.param("gradual", marks=pytest.mark.lab)]
)
def test_a_receipt_holds(upload, verify, exam, tmp_path, mode):
    receipt = tmp_path / "r.json"
    done = upload(exam.directory, "--mode", mode, "--receipt", receipt, "-o", "json")
    assert (done.code, done.document["kept"]) == (0, [{"writer": "receipt", "place": str(receipt)}])
    assert digests_of(receipt) == by_path(exam)
    header = json.loads(receipt.read_text())["header"]
    assert (header["user"], header["transport"], header["status"], header["exit_code"]) == (
        "alice",
        mode,
        "complete",
        0,
    )
    assert header["counts"]["verified"] == len(exam.instances)
    code, found = verify(receipt, exam.directory)
    assert (code, found["problems"]) == (0, [])
    assert found["disk"]["equal"] == found["server"]["found"] == len(exam.instances)
    assert_private(receipt)


@pytest.mark.once
def test_a_run_that_sends_nothing_has_a_complete_receipt(upload, verify, exam, tmp_path):
    """Once from the digests of the journal, once from the disk: the first run computed others."""
    assert upload(exam.directory).code == 0
    for name in ("read.json", "known.html"):
        done = upload(exam.directory, "--receipt", tmp_path / name)
        assert done.code == 0
        assert "nothing had to be sent" in done.out
        code, found = verify(tmp_path / name, exam.directory)
        assert (code, found["disk"]["equal"]) == (0, len(exam.instances))
    assert digests_of(tmp_path / "read.json") == by_path(exam)
    assert {entry["sent"] for entry in entries_of(tmp_path / "read.json")} == {"earlier"}


@pytest.mark.once
def test_what_changed_later_is_found(upload, verify, own_exam, sandbox, tmp_path):
    receipt = tmp_path / "r.html"
    assert upload(own_exam.directory, "--receipt", receipt).code == 0
    first, second, *_ = own_exam.instances.values()
    content = second.path.read_bytes()
    second.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    first.path.unlink()
    code, found = verify(receipt, own_exam.directory, "--no-server")
    assert code == 6
    assert {(one["where"], one["sop_instance_uid"], one["message"]) for one in found["problems"]} == {
        ("disk", first.sop_instance_uid, "the instance is not there"),
        ("disk", second.sop_instance_uid, "its content is not what was sent"),
    }
    (experiment,) = sandbox.state.experiments.values()
    scan = next(iter(experiment.scans.values()))
    for resource in scan.resources:
        entry = next(iter(resource.entries.values()))
        (resource.directory / entry.path).unlink()
        del resource.entries[next(iter(resource.entries))]
    code, found = verify(receipt)
    assert code == 6
    assert [(one["where"], one["sop_instance_uid"]) for one in found["problems"]] == [("server", entry.uid)]
    receipt.write_bytes(receipt.read_bytes().replace(b"Complete.", b"complete."))
    code, found = verify(receipt, "--no-server")
    assert (code, [one["where"] for one in found["problems"]]) == (6, ["receipt"])


@pytest.mark.once
def test_a_partial_upload_and_the_run_that_finishes_it(upload, verify, own_exam, tmp_path):
    receipt = tmp_path / "r.json"
    damaged = next(iter(own_exam.instances.values())).path
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-50])
    done = upload(own_exam.directory, "--receipt", receipt)
    assert done.code == 5
    assert f"Receipt: {receipt}" in done.out
    code, found = verify(receipt, own_exam.directory, "--no-server")
    assert (code, [one["where"] for one in found["problems"]]) == (5, ["upload"])
    code, found = verify(receipt)
    assert (code, [one["compared"] for one in found["problems"]]) == (5, [True, False])
    assert "the server has not archived the session yet (RECEIVING)" in found["problems"][1]["message"]
    assert [one["outcome"] for one in entries_of(receipt) if one["sent"] == "no"] == ["invalid"]
    assert json.loads(receipt.read_text())["header"]["not_readable"] == 1
    damaged.write_bytes(content)
    assert upload(own_exam.directory, "--receipt", receipt).code == 0
    assert [run["status"] for run in json.loads(receipt.read_text())["header"]["earlier"]] == ["partial"]
    assert verify(receipt, own_exam.directory)[0] == 0
    assert digests_of(receipt) == by_path(own_exam)


@pytest.mark.once
def test_a_wrong_folder_is_asked_about_and_its_table_is_short(upload, xnatctl, alice, exam, tmp_path):
    assert upload(exam.directory, "--receipt", tmp_path / "r.json").code == 0
    (tmp_path / "bob").mkdir()
    shutil.copy(next(iter(exam.instances.values())).path, tmp_path / "cut")
    (tmp_path / "bob" / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-50])
    arguments = ("receipt", "verify", tmp_path / "r.json", tmp_path / "bob", "--no-server")
    done = xnatctl(*arguments, env=alice)
    assert done.code == 6
    number = len(exam.instances)
    assert f"None of the {number} files is in {tmp_path / 'bob'}: is it the right folder?" in " ".join(done.err.split())
    assert done.out.count("the instance is not there") == 10
    assert f"... and {number + 1 - 10} more; -o json lists all." in done.out
    assert len(xnatctl(*arguments, "-o", "json", env=alice).document["problems"]) == number + 1


def test_an_upload_is_refused_whose_receipt_cannot_be_kept(upload, exam, sandbox, tmp_path):
    (tmp_path / "r.json").write_text("mine")
    for arguments, code in (
        (("--receipt", tmp_path / "r.json"), 7),
        (("--receipt", tmp_path / "r.txt"), 2),
        (("--receipt", tmp_path / "no" / "r.json"), 2),
        (("--receipt", tmp_path / "r.html", "--dry-run"), 2),
        (("--receipt-paths",), 2),
        (("--receipt", ""), 2),
    ):
        assert upload(exam.directory, *arguments).code == code
    assert (tmp_path / "r.json").read_text() == "mine"
    assert not sandbox.requests


def test_secrets_of_variables_do_not_go_to_a_server_that_only_the_receipt_names(upload, verify, exam, alice, tmp_path):
    receipt = tmp_path / "r.json"
    assert upload(exam.directory, "--receipt", receipt).code == 0
    before = receipt.read_bytes()
    with Sandbox(tmp_path / "other") as other:
        receipt.write_bytes(_with_server(before, other.url))
        env = {name: value for name, value in alice.items() if name != "XNAT_URL"}
        code, found = verify(receipt, env=env)
        assert (code, other.requests) == (2, [])
        assert f"--url {other.url}" in found["error"]["hint"]
        assert verify(receipt, "--no-server", env=env)[0] == 0
    receipt.write_bytes(before)
    assert verify(receipt, "--url", alice["XNAT_URL"], env=env)[0] == 0


def test_a_warning_about_the_server_says_that_the_receipt_names_it(upload, xnatctl, exam, alice, tmp_path):
    receipt = tmp_path / "r.json"
    assert upload(exam.directory, "--receipt", receipt).code == 0
    made = xnatctl("config", "set-profile", "other", "--url", "http://127.0.0.1:9", "--username", "bob")
    assert made.code == 0
    env = {name: value for name, value in alice.items() if name != "XNAT_URL"}
    said = xnatctl("receipt", "verify", receipt, "--profile", "other", env=env).err
    assert "(receipt), not the one of profile other" in said
    assert "journal" not in said


def _with_server(data, url):
    """The receipt as somebody would forge it."""
    receipt = read_chain(data)
    header = {**receipt.header, "destination": {**receipt.header["destination"], "server": url}}
    return write_chain(header, ({k: v for k, v in one.items() if k != "hash"} for one in receipt.entries))[0]


def test_nothing_was_sent_so_there_is_no_receipt(upload, exam, tmp_path):
    done = upload(exam.directory, "--receipt", tmp_path / "r.json", names=("-P", "DEMO", "-S", "s", "-E", "a b"))
    assert done.code == 7
    assert not (tmp_path / "r.json").exists()


@pytest.mark.lab
def test_a_server_that_cannot_be_reached(upload, verify, exam, alice, tmp_path):
    nowhere = {**alice, "XNAT_URL": "http://127.0.0.1:9"}
    done = upload(exam.directory, "--receipt", tmp_path / "r.json", "--retry-for", "0", env=nowhere)
    assert done.code == 4
    header = json.loads((tmp_path / "r.json").read_text())["header"]
    assert (header["status"], header["exit_code"], header["user"]) == ("failed", 4, "")
    assert verify(tmp_path / "r.json", "--no-server")[0] == 5


@pytest.mark.lab
def test_an_exam_with_resources(upload, verify, root, tmp_path):
    for name, more in (("r.json", ()), ("p.json", ("--receipt-paths",))):
        receipt = tmp_path / name
        command = ("session", "upload-exam")
        done = upload(root.directory, "--receipt", receipt, *more, command=command)
        assert done.code == 0, done.err
        files = [entry for entry in entries_of(receipt) if entry["kind"] == "file"]
        assert len(files) == sum(map(len, root.files.values()))
        assert json.loads(receipt.read_text())["header"]["not_readable"] == 0
        assert sorted(entry["sha256"] for entry in files) == sorted(
            digest for resource in root.files.values() for digest in resource.values()
        )
        code, found = verify(receipt, root.directory)
        assert (code, found["problems"]) == (0, [])
        assert found["server"]["found"] == found["disk"]["equal"] == len(entries_of(receipt))
        names = [name for resource in root.files.values() for name in resource]
        assert all((file in receipt.read_text()) is bool(more) for file in names)


@pytest.mark.once
def test_a_resource(upload, verify, xnatctl, alice, own_exam, tmp_path):
    assert upload(own_exam.directory).code == 0
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "doe.txt").write_text("one")
    (tree / "b.txt").write_text("two")
    receipt = tmp_path / "r.json"
    done = xnatctl("resource", "upload", "e", "NOTES", tree, "-P", "DEMO", "--receipt", receipt, env=alice)
    assert done.code == 0, done.err
    assert "doe" not in receipt.read_text()
    assert verify(receipt, tree)[0] == 0
    (tree / "doe.txt").write_text("two")
    code, found = verify(receipt, tree)
    assert (code, [one["where"] for one in found["problems"]]) == (6, ["disk"])
    assert found["disk"]["extra"]


@pytest.mark.lab
def test_several_studies(xnatctl, verify, alice, tmp_path):
    studies = [write_study(tmp_path / "export" / name, seed, date) for name, (seed, date) in VISITS.items()]
    receipt = tmp_path / "r.html"
    arguments = (tmp_path / "export", *SPLIT, "--split-studies", "--receipt", receipt)
    assert xnatctl("session", "upload", *arguments, env=alice).code == 0
    code, found = verify(receipt, tmp_path / "export")
    assert (code, found["problems"]) == (0, [])
    assert found["server"]["found"] == sum(len(study.digests) for study in studies)


@pytest.mark.lab
def test_several_paths_and_resume(upload, verify, xnatctl, alice, own_exam, tmp_path):
    """Two folders as one session; then `upload resume` writes a receipt, too."""
    first, second, *_ = sorted({one.path.parent for one in own_exam.instances.values()})
    for number, folder in enumerate((first, second)):
        shutil.copytree(folder, tmp_path / f"part{number}", symlinks=True)
    parts = (tmp_path / "part0", tmp_path / "part1")
    done = xnatctl("session", "upload", *parts, *NAMES, "--receipt", tmp_path / "r.json", env=alice)
    assert done.code == 0, done.err
    assert verify(tmp_path / "r.json", *parts)[0] == 0
    assert xnatctl("upload", "resume", "DEMO/e", "--receipt", tmp_path / "again.json", env=alice).code == 0
    assert digests_of(tmp_path / "again.json") == digests_of(tmp_path / "r.json")


@pytest.mark.once
def test_a_receiver(xnatctl, verify, own_exam, tmp_path):
    pytest.importorskip("pynetdicom")
    receipt = tmp_path / "r.json"
    with Sandbox(tmp_path / "receiver", dicom_port=0) as receiver:
        to = ("--host", "127.0.0.1", "--port", str(receiver.dicom_port), "--called-aet", "XNAT")
        done = xnatctl("session", "upload-dicom", own_exam.directory, *to, "--receipt", receipt)
    assert done.code == 0, done.err
    assert digests_of(receipt) == by_path(own_exam)
    code, found = verify(receipt, own_exam.directory, env={})
    assert (code, found["server"], found["disk"]["equal"]) == (0, None, len(own_exam.instances))


@pytest.mark.once
@needs_signals
def test_an_interrupt(verify, upload, nursery, environment, sandbox, alice, exam, tmp_path):
    """The receipt says so at once; the command that is printed replaces it, and sends no file again."""
    sandbox.faults.load([{"match": {"path": "services/import"}, "nth": 5, "action": "hold", "seconds": 600}])
    receipt = tmp_path / "r.json"
    arguments = ["session", "upload", str(exam.directory), *NAMES, "--mode", "gradual", "--receipt", str(receipt)]
    running = nursery.start("-m", "xnatctl", *arguments, env={**environment, **alice})
    while sum("services/import" in request["path"] for request in sandbox.requests) < 20:
        time.sleep(0.02)
        assert running.poll() is None
    os.kill(running.pid, signal.SIGTERM)
    running.communicate()
    assert running.returncode == 143
    first = json.loads(receipt.read_text())
    assert (first["header"]["status"], first["header"]["exit_code"]) == ("interrupted", 143)
    expected = by_path(exam)
    assert {
        one["sha256"] == expected[one["sop_instance_uid"]] for one in entries_of(receipt) if one["sent"] != "no"
    } == {True}
    assert verify(receipt, "--no-server")[0] == 5
    code, found = verify(receipt, exam.directory)
    assert (code, [one["where"] for one in found["problems"]]) == (5, ["upload", "server"])
    sandbox.faults.load([])
    assert upload(exam.directory, "--receipt", receipt).code == 0
    assert json.loads(receipt.read_text())["header"]["earlier"][0]["head"] == first["head"]
    assert verify(receipt, exam.directory)[0] == 0


def test_what_is_no_receipt(xnatctl, tmp_path):
    (tmp_path / "x.json").write_text("{}")
    done = xnatctl("receipt", "verify", tmp_path / "x.json")
    assert done.code == 2
    assert "is not a receipt of xnatctl" in done.err
