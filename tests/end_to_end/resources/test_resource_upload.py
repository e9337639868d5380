"""What is sent to a resource is there afterwards: byte for byte, under its name, and nothing else is touched."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
from systems import needs_posix_names


def md5s(files):
    return {name: (len(data), hashlib.md5(data).hexdigest()) for name, data in files.items()}


@pytest.fixture
def upload(xnatctl, alice):
    """`resource upload` with these arguments."""

    def run(*arguments, env=alice, **more):
        return xnatctl("resource", "upload", *arguments, "-o", "json", env=env, **more)

    return run


def test_a_directory_arrives_with_every_name_and_byte(
    upload, server, session, tree, contents, on_disk, writes, tmp_path
):
    done = upload(session, "BIDS", tree, "--format", "NIFTI", "--content", "RAW", "--tags", "a, b")
    assert done.code == 0, done.err
    expected = contents(tree)
    assert on_disk("BIDS") == expected
    parent = f"/data/experiments/{session}"
    assert server.listed(parent, "BIDS") == md5s(expected)
    (resource,) = server.rows(f"{parent}/resources")
    assert (resource["label"], resource["format"], resource["content"]) == ("BIDS", "NIFTI", "RAW")
    assert sorted(resource["tags"].split(",")) == ["a", "b"]
    assert len(writes()) == 1
    report = done.document
    assert report["status"] == "complete"
    assert report["destination"]["session"] == "e"
    assert report["counts"] == {
        "found": len(expected), "excluded": 1, "sent": len(expected), "skipped": 0, "failed": 0,
        "verified": len(expected),
    }  # fmt: skip
    assert report["verification"] | {"level": "checksum", "ok": True, "differences": []} == report["verification"]
    (part,) = report["resources"]
    assert (part["title"], part["level"], part["uri"]) == ("BIDS", "session", f"{parent}/resources/{part['id']}")
    assert {item["path"] for item in report["items"]} == set(expected)
    assert {item["resource"] for item in report["items"]} == {"BIDS"}
    assert {item["sop_instance_uid"] for item in report["items"]} == {""}
    assert report["excluded"] == [{"path": ".DS_Store", "reason": "hidden"}]
    assert any("empty director" in warning for warning in report["warnings"])


def test_again_sends_nothing_and_what_was_deleted_is_sent_alone(
    xnatctl, upload, server, session, tree, contents, on_disk, writes, elsewhere
):
    """With the journal, and on a machine that has none: the server's listing is what decides."""
    assert upload("e", "BIDS", tree, "-P", "DEMO").code == 0
    before = len(writes())
    for env in (None, elsewhere):
        done = upload("e", "BIDS", tree, "-P", "DEMO", **({"env": env} if env else {}))
        assert done.code == 0, done.err
        assert done.document["counts"]["skipped"] == done.document["counts"]["verified"] == len(contents(tree))
        assert len(writes()) == before
    gone = "/data/experiments/{}/resources/BIDS/files/{}"
    server.call("DELETE", gone.format(session, "sub%2001/anat/scan.nii.gz"))
    assert "sub 01/anat/scan.nii.gz" not in on_disk("BIDS")
    done = upload(session, "BIDS", tree)  # named by accession ID: the same place, and so the same journal
    assert done.code == 0, done.err
    assert done.document["counts"]["sent"] == 1
    (request,) = writes()[before:]
    assert request["path"].endswith("/files/sub 01/anat/scan.nii.gz")
    assert on_disk("BIDS") == contents(tree)
    status = xnatctl("upload", "status", "-o", "json")
    assert [(row["state"], row["resource"]) for row in status.document["uploads"]] == [("complete", "BIDS")]
    assert xnatctl("upload", "status", "DEMO/e/BIDS").code == 0


@pytest.mark.parametrize(
    ("name", "content", "alone"),
    [
        ("report.pdf", b"%PDF", True),
        ("with space.txt", b"text", True),
        ("scan.nii.gz", gzip.compress(b"an image", mtime=0), True),
        ("data.zip", b"PK\x05\x06" + bytes(18), True),
        ("a[1]#ü.txt", b"text", False),
        ("empty.txt", b"", False),
    ],
)
def test_a_single_file_goes_directly_where_its_name_can(
    upload, session, tmp_path, on_disk, writes, name, content, alone
):
    path = tmp_path / name
    path.write_bytes(content)
    done = upload(session, "ONE", path)
    assert done.code == 0, done.err
    assert on_disk("ONE") == {name: content}
    (request,) = writes()
    assert ("extract" in (request["query"] or "")) is not alone


def test_scans_subjects_and_projects_keep_resources_too(upload, xnatctl, alice, server, session, tmp_path, on_disk):
    path = tmp_path / "note.txt"
    path.write_bytes(b"noted")
    places = {
        "ONSCAN": ("e", "ONSCAN", path, "-P", "DEMO", "--scan", "4"),
        "ONSUBJECT": ("ONSUBJECT", path, "-P", "DEMO", "--subject", "s"),
        "ONPROJECT": ("ONPROJECT", path, "-P", "DEMO", "--project-level"),
    }
    for label, arguments in places.items():
        done = upload(*arguments)
        assert done.code == 0, done.err
        assert on_disk(label) == {"note.txt": b"noted"}
        assert done.document["verification"]["level"] == "checksum"
    listed = xnatctl("resource", "list", "e", "-P", "DEMO", "-o", "json", env=alice).document["resources"]
    assert [(row["scan"], row["label"], row["files"], row["bytes"]) for row in listed] == [("4", "ONSCAN", 1, 5)]
    for place in (("--subject", "s"), ("--project-level",)):
        done = xnatctl("resource", "list", "-P", "DEMO", *place, "-o", "csv", env=alice)
        assert done.out.splitlines()[1].startswith(",ON")


def test_files_of_others_stay_and_are_refused_by_name(upload, server, session, tree, contents, on_disk, writes):
    files = f"/data/experiments/{session}/resources/BIDS/files"
    server.put(f"{files}/mine.txt", b"somebody else's")
    server.put(f"{files}/empty.log", b"not empty")
    server.put(f"{files}/a%20b.txt", b"another")
    before = len(writes())
    refused = upload(session, "BIDS", tree)
    assert refused.code == 7
    assert len(writes()) == before
    assert refused.document["status"] == "refused"
    error = refused.document["error"]
    assert "a b.txt" in error["message"]
    assert "empty.log" in error["message"]
    assert "--overwrite" in error["hint"]
    named = refused.document["resources"][0]["verification"]["differences"]
    assert [entry["path"] for entry in named] == ["a b.txt", "empty.log"]
    assert on_disk("BIDS")["empty.log"] == b"not empty"
    done = upload(session, "BIDS", tree, "--overwrite")
    assert done.code == 0, done.err
    assert on_disk("BIDS") == {**contents(tree), "mine.txt": b"somebody else's"}


def test_a_file_that_changed_on_disk_is_refused_too(upload, session, tmp_path, on_disk):
    path = tmp_path / "tsv.tsv"
    path.write_bytes(b"one")
    assert upload(session, "R", path).code == 0
    path.write_bytes(b"two")
    assert upload(session, "R", path).code == 7
    assert on_disk("R") == {"tsv.tsv": b"one"}
    assert upload(session, "R", path, "--overwrite").code == 0
    assert on_disk("R") == {"tsv.tsv": b"two"}


def test_a_reader_is_told_before_anything_is_sent(upload, sandbox, session, tree, writes):
    bob = {"XNAT_URL": sandbox.url, "XNAT_USER": "bob", "XNAT_PASS": "bob"}
    done = upload("e", "BIDS", tree, "-P", "DEMO", env=bob)
    assert done.code == 3
    assert "bob may read project DEMO but not write to it" in done.document["error"]["message"]
    assert writes() == []
    assert list((sandbox.directory / "archive").rglob("BIDS")) == []


def test_without_checksums_sizes_are_compared_and_content_is_not_taken_on_trust(
    upload, sandbox, session, tree, on_disk, contents, writes, elsewhere
):
    sandbox.state.site["checksums"] = False
    done = upload(session, "BIDS", tree)
    assert done.code == 0, done.err
    assert done.document["verification"]["levels"] == {"size": len(contents(tree)) - 1, "checksum": 1}  # one is empty
    assert done.document["verification"]["level"] == "size"
    before = len(writes())
    assert upload(session, "BIDS", tree).document["counts"]["skipped"] == len(contents(tree))
    assert len(writes()) == before
    # Somebody who has not sent these files cannot know what they hold.
    other = upload(session, "BIDS", tree, env=elsewhere)
    assert other.code == 7
    assert "no checksum to compare" in other.document["error"]["message"]
    assert on_disk("BIDS") == contents(tree)


#: Arguments, exit code, and what the message or its hint says.
IMPOSSIBLE = [
    (("e", "123", "PATH", "-P", "DEMO"), 7, "digits alone"),
    (("e", "a'b", "PATH", "-P", "DEMO"), 7, "allows only letters"),
    (("e", "R", "PATH"), 2, "add -P PROJECT"),
    (("nobody", "R", "PATH", "-P", "DEMO"), 2, "has no session nobody"),
    (("e", "R", "PATH", "-P", "NOWHERE"), 2, "no project NOWHERE"),
    (("e", "R", "PATH", "-P", "DEMO", "--scan", "99"), 2, "Its scans are: 4"),
    (("R", "PATH", "-P", "DEMO", "--subject", "who"), 2, "no subject who"),
    (("R", "PATH", "--project-level"), 2, "Missing: -P PROJECT."),
    (("R", "PATH", "-P", "DEMO"), 2, "SESSION, LABEL and PATH"),
    (("e", "R", "PATH", "-P", "DEMO", "--subject", "s"), 2, "LABEL and PATH"),
    (("e", "R", "PATH", "-P", "DEMO", "--scan", "4", "--project-level"), 2, "exclude each other"),
    (("e", "R", "nowhere", "-P", "DEMO"), 2, "No such file or directory"),
    (("e", "R", "EMPTY", "-P", "DEMO"), 2, "No files to send"),
    (("e", "R", "PATH", "-P", "DEMO", "--mode", "tar"), 2, "carries dicom files"),
]
#: Runs many commands in one process, because starting one is most of the time that each takes.
MANY = """
import contextlib, io, json, sys
from xnatctl.cli.main import run
for arguments in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run(arguments)
    print(json.dumps([code, json.loads(out.getvalue())["error"]]))
"""


def test_what_cannot_be_is_said_and_nothing_is_stored(environment, xnatctl, alice, session, tree, sandbox, writes):
    places = {"PATH": str(tree), "EMPTY": str(tree / "nothing in here")}
    commands = [
        ["resource", "upload", *(places.get(word, word) for word in arguments), "-o", "json"]
        for arguments, _, _ in IMPOSSIBLE
    ]
    done = subprocess.run(
        [sys.executable, "-c", MANY],
        env={**environment, **alice},
        input=json.dumps(commands).encode(),
        capture_output=True,
        timeout=110,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(IMPOSSIBLE)
    for (arguments, code, words), (got, error) in zip(IMPOSSIBLE, answers, strict=True):
        assert (got, error["exit_code"]) == (code, code), (arguments, error)
        assert words in f"{error['message']} {error['hint']}", arguments
    assert writes() == []
    assert not any("scans/99" in request["path"] for request in sandbox.requests)
    assert list((sandbox.directory / "archive").rglob("R")) == []
    left = xnatctl("upload", "status", "-o", "json")
    assert (left.document["uploads"], left.err) == ([], ""), "what never began is no upload to finish"


def test_a_session_in_the_prearchive_cannot_be_attached_to_and_that_is_said(upload, xnatctl, alice, exam, tree):
    assert (
        xnatctl("session", "upload", exam.directory, "-P", "DEMO", "-S", "s", "-E", "w", "--prearchive", env=alice).code
        == 0
    )
    done = upload("w", "R", tree, "-P", "DEMO")
    assert done.code == 2
    assert "is in the prearchive" in done.document["error"]["hint"]


@needs_posix_names
def test_names_that_no_catalog_holds_are_reported_and_the_rest_goes(upload, session, tree, contents, on_disk):
    good = contents(tree)
    (tree / "BIDS_catalog.xml").write_bytes(b"<would replace the catalog/>")
    (tree / "line\nbreak.txt").write_bytes(b"x")
    with open(os.fsencode(tree) + b"/not-utf8-\xff.txt", "wb") as file:
        file.write(b"x")
    done = upload(session, "BIDS", tree)
    assert done.code == 5
    assert on_disk("BIDS") == good
    failed = {item["path"]: item["reason"] for item in done.document["items"] if item["outcome"] == "failed"}
    assert len(failed) == 3
    assert "catalog" in failed["BIDS_catalog.xml"]
    assert done.document["counts"]["sent"] == len(good)


def test_dicom_in_it_is_warned_of_and_help_says_why(upload, xnatctl, session, tmp_path, exam, on_disk):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    record = next(iter(exam.instances.values()))
    shutil.copyfile(record.path, mixed / "looks like a note.txt")
    done = upload(session, "R", mixed)
    assert done.code == 0
    assert "DICOM" in done.document["warnings"][0]
    assert "Warning: 1 of the files is DICOM" in done.err, "said before it is sent, not only in the report"
    assert on_disk("R") == {"looks like a note.txt": record.path.read_bytes()}
    assert "bypass the project's anonymisation" in " ".join(xnatctl("resource", "upload", "--help").out.split())


def test_dry_run_asks_the_server_nothing(upload, xnatctl, alice, sandbox, session, tree, contents):
    before = len(sandbox.requests)
    done = upload("e", "BIDS", tree, "-P", "DEMO", "--dry-run")
    assert done.code == 0, done.err
    assert len(sandbox.requests) == before
    (stage,) = done.document["stages"]
    assert {item["name"] for item in stage["items"]} == set(contents(tree))
    assert (stage["kind"], stage["resource"]["label"], stage["options"]["verify"]) == ("resource", "BIDS", True)
    shown = xnatctl("resource", "upload", "BIDS", tree, "-P", "DEMO", "--project-level", "--dry-run", env=alice)
    assert f"Would send {len(contents(tree))} files" in shown.out
    assert f"in 1 request.\nServer: {alice['XNAT_URL']}\nDestination: project DEMO\n" in shown.out


def test_no_verify_looks_once_and_compares_nothing(upload, sandbox, session, tree, on_disk, contents):
    done = upload(session, "BIDS", tree, "--no-verify")
    assert done.code == 0, done.err
    assert done.document["verification"]["level"] == "none"
    assert {item["outcome"] for item in done.document["items"]} == {"accepted"}
    assert not [r for r in sandbox.requests if r["method"] == "GET" and r["path"].endswith("/files")]
    assert on_disk("BIDS") == contents(tree)


def test_without_the_plugin_the_rest_works_and_says_what_is_missing(xnatctl, alice, session, tree):
    env = {**alice, "XNATCTL_BLOCK_PLUGINS": "resource"}
    done = xnatctl("resource", "upload", session, "R", tree, env=env)
    assert done.code == 8
    assert "resource" in done.err
    assert xnatctl("session", "list", "-P", "DEMO", env=env).code == 0


def test_resources_are_listed_in_the_order_of_their_labels(xnatctl, sandbox, alice, tmp_path):
    (tmp_path / "note.txt").write_text("a note")
    for label in ("ZULU", "bravo", "MIKE", "ALFA"):
        done = xnatctl("resource", "upload", label, tmp_path / "note.txt", "-P", "DEMO", "--project-level", env=alice)
        assert done.code == 0, done.err
    listed = xnatctl("resource", "list", "-P", "DEMO", "--project-level", "-o", "json", env=alice).document["resources"]
    assert [row["label"] for row in listed] == ["ALFA", "bravo", "MIKE", "ZULU"]
