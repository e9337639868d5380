"""`upload resume`: what it sends where, with whose credentials, and what it refuses to call the same upload."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from xnatctl.testing.exam import write_exam
from xnatctl_sandbox.server import Sandbox

pytestmark = pytest.mark.once

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")
IMPORT = {"path": "services/import"}


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=2, instances=3, seed=5, clutter=False)


@pytest.fixture
def interrupted(xnatctl, alice, exam, sandbox):
    """An upload of which the server took a part; the ID of its journal."""
    sandbox.faults.load([{"match": IMPORT, "nth": list(range(3, 99)), "action": "status", "status": 403}])
    done = xnatctl("session", "upload", exam.directory, *NAMES, "--mode", "gradual", "-o", "json", env=alice)
    assert done.code in (3, 5), done.err
    sandbox.faults.load([])
    (row,) = xnatctl("upload", "status", "-o", "json").document["uploads"]
    assert 0 < row["undelivered"] < 6
    return row["id"]


def test_credentials_of_the_variables_go_to_their_own_server_alone(
    xnatctl, alice, exam, sandbox, interrupted, home, tmp_path, assert_exactly
):
    def logins(server):
        return [request for request in server.requests if request["path"].endswith("/data/JSESSION")]

    with Sandbox(tmp_path / "other") as other:
        before = len(logins(sandbox))
        done = xnatctl("upload", "resume", interrupted, "-o", "json", env={**alice, "XNAT_URL": other.url})
        assert done.code == 3
        assert "XNAT_USER and XNAT_PASS are for another one (XNAT_URL) and not used" in done.err
        assert "XNAT_URL" in done.document["error"]["hint"]
        assert len(logins(sandbox)) == before, "the password of another server reached this one"
        assert logins(other) == []

        config = home / "config" / "xnatctl" / "config.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(f"profiles:\n  site: {{url: '{sandbox.url}', username: alice, password: alice}}\n")
        config.chmod(0o600)
        assert xnatctl("config", "set-profile", "site", "--url", other.url).code == 0
        done = xnatctl("upload", "resume", interrupted, "-o", "json")
        assert done.code == 3, "the profile names another server now, and its password goes with it"
        assert len(logins(sandbox)) == before

        named = ("upload", "resume", interrupted, "--username", "alice", "--password-stdin", "-o", "json")
        done = xnatctl(*named, env={**alice, "XNAT_URL": other.url}, stdin="alice\n")
        assert done.code == 0, done.err
        assert other.instances() == []
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


def test_without_its_plugin_nothing_is_resumed(xnatctl, alice, exam, sandbox, interrupted, assert_exactly):
    blocked = xnatctl("upload", "resume", interrupted, env={**alice, "XNATCTL_BLOCK_PLUGINS": "session"})
    assert blocked.code == 8
    assert "session upload comes from plugin session, which is blocked" in blocked.err
    done = xnatctl("upload", "resume", interrupted, "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


def shown(xnatctl, dest):
    return xnatctl("upload", "status", dest, "-o", "json").document


def test_attaching_alone_does_not_hide_images_that_are_missing(xnatctl, alice, sandbox, root, attached, assert_exactly):
    command = ("session", "upload-exam", root.directory, *NAMES, "-o", "json")
    sandbox.switches.lost_instances = set(sorted(root.digests)[:1])
    assert xnatctl(*command, env=alice).code == 6
    sandbox.switches.lost_instances = set()
    only = xnatctl(*command, "--attach-only", "--trust-session", env=alice)
    assert only.code == 0, only.err
    (warning,) = [text for text in only.document["warnings"] if "of an earlier upload" in text]
    (row,) = xnatctl("upload", "status", "--unfinished", "-o", "json").document["uploads"]
    assert f"xnatctl upload resume {row['id']}" in warning
    assert (row["state"], row["undelivered"]) == ("incomplete", 1)
    (missing,) = shown(xnatctl, "DEMO/e")["not_delivered"]
    assert missing["root"] == str(root.directory)
    assert missing["path"] in warning
    resumed = xnatctl("upload", "resume", row["id"], "-o", "json", env=alice)
    assert resumed.code == 0, resumed.err
    assert xnatctl("upload", "status", "--unfinished", "-q").out == ""
    assert_exactly(sandbox, root.digests, place="archive", label="e")


def test_another_folder_to_the_same_resource_forgets_nothing(xnatctl, alice, sandbox, exam, tmp_path, attached):
    assert xnatctl("session", "upload", exam.directory, *NAMES, env=alice).code == 0
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{name} {number}.txt").write_text(f"{name} {number}")

    def upload(folder, code):
        done = xnatctl("resource", "upload", "e", "NOTES", tmp_path / folder, "-P", "DEMO", "-o", "json", env=alice)
        assert done.code == code, done.err
        return [text for text in done.document["warnings"] if "of an earlier upload" in text]

    sandbox.faults.load([{"match": {"path": "/resources/.*/files"}, "action": "status", "status": 403}])
    upload("first", 3)
    sandbox.faults.load([])
    (warning,) = upload("second", 0)
    assert "3 files of an earlier upload" in warning
    assert "no longer on this disk" not in warning
    state = shown(xnatctl, "e/NOTES")
    assert (state["state"], state["found"], state["delivered"], state["earlier"]) == ("incomplete", 6, 3, 3)
    assert {entry["path"] for entry in state["not_delivered"]} == {f"first {number}.txt" for number in range(3)}

    (tmp_path / "first" / "first 2.txt").unlink()
    resumed = xnatctl("upload", "resume", "e/NOTES", "-o", "json", env=alice)
    assert resumed.code == 0, resumed.err
    (warning,) = [text for text in resumed.document["warnings"] if "of an earlier upload" in text]
    assert "1 file of an earlier upload" in warning
    assert "first 2.txt" in warning
    assert "no longer on this disk" in warning
    assert set(attached(sandbox, "e")["NOTES"]) == {
        "first 0.txt",
        "first 1.txt",
        *(f"second {n}.txt" for n in range(3)),
    }
    assert upload("second", 0) == [warning], "it stays named, and does not fail for ever"
    forget = warning.split("forget: xnatctl ")[1].split()
    assert xnatctl(*forget).code == 0
    assert upload("second", 0) == []
    assert xnatctl("upload", "status", "--unfinished", "-q").out == ""


def test_a_file_that_was_sent_and_then_deleted_keeps_nothing_open(
    xnatctl, alice, sandbox, exam, interrupted, assert_exactly
):
    (arrived,) = {entry["sop_instance_uid"] for entry in sandbox.instances()} & set(sorted(exam.instances)[:1]) or {
        sandbox.instances()[0]["sop_instance_uid"]
    }
    exam.instances[arrived].path.unlink()
    command = ("session", "upload", exam.directory, *NAMES, "-o", "json")
    codes = [(done := xnatctl(*command, env=alice)).code for _ in range(2)]
    assert codes[-1] == 0, (codes, done.err)
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert xnatctl("upload", "status", "--unfinished", "-q").out == "", "it was found in the session"


def test_a_folder_that_holds_another_study_is_not_the_same_upload(xnatctl, alice, sandbox, exam, interrupted, tmp_path):
    exam.directory.rename(tmp_path / "away")
    write_exam(exam.directory, series=1, instances=2, seed=99, clutter=False)
    before = [entry["sha256"] for entry in sandbox.instances()]
    done = xnatctl("upload", "resume", interrupted, "-o", "json", env=alice)
    assert done.code == 7
    assert "not part of the upload that is resumed" in done.document["error"]["message"]
    assert [entry["sha256"] for entry in sandbox.instances()] == before
    assert shown(xnatctl, interrupted)["state"] == "incomplete"


def test_no_damage_of_a_journal_is_unexpected(xnatctl, alice, exam, home, interrupted):
    folder = home / "state" / "xnatctl" / "journals"
    path = folder / f"{interrupted}.sqlite"
    whole = path.read_bytes()
    spoilt = {
        "outcome": "UPDATE items SET outcome = 'lost'",
        "digest": "UPDATE items SET digest = 'sha999:00' WHERE outcome = 'accepted'",
        "run": "UPDATE meta SET value = 'first' WHERE key = 'run'",
        "request": "UPDATE meta SET value = '[]' WHERE key = 'request'",
        "garbage": None,
        "directory": None,
    }
    commands = (
        ("upload", "status"),
        ("upload", "status", interrupted),
        ("upload", "resume", interrupted),
        ("session", "upload", exam.directory, *NAMES),
    )
    for kind, statement in spoilt.items():
        if kind == "garbage":
            path.write_bytes(b"garbage " * 4096)
        elif kind == "directory":
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(whole)
            with closing(sqlite3.connect(path)) as db:
                db.execute(statement)
                db.commit()
        for command in commands:
            done = xnatctl(*command, "-o", "json", env=alice)
            said = (kind, command, done.code, done.err)
            assert "Unexpected" not in done.err, said
            assert "Traceback" not in done.err, said
            if command == ("upload", "status"):
                assert done.code == 0, said
            elif done.code:
                assert done.document["error"]["code"] == "journal", said
                assert done.document["error"]["hint"], said


@pytest.mark.parametrize("state", ["x" * 300, "/".join(["long"] * 200), "/dev/null/state", "/".join(["long"] * 2000)])
def test_a_state_directory_that_cannot_be_is_no_unexpected_error(xnatctl, alice, exam, home, state):
    env = {**alice, "XNATCTL_STATE_DIR": str(home / state)}
    for command in (
        ("upload", "status"),
        ("upload", "resume", "x"),
        ("upload", "forget", "x"),
        ("session", "upload", exam.directory, *NAMES),
        ("auth", "status"),
    ):
        done = xnatctl(*command, env=env)
        assert "Unexpected" not in done.err, (command, done.err)
        assert "Traceback" not in done.err, (command, done.err)
    assert done.code in (0, 1, 2), done.err
