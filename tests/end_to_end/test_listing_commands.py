"""Listings and the prearchive commands against the sandbox, in every format."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import subprocess
import sys
import termios

import pytest
import yaml

pytestmark = pytest.mark.once


@pytest.fixture
def archived(xnatctl, alice, exam):
    assert (
        xnatctl("session", "upload", exam.directory, "-P", "DEMO", "-S", "subj01", "-E", "sess01", env=alice).code == 0
    )


@pytest.fixture
def waiting(xnatctl, alice, exam, sandbox):
    """A session in the prearchive; its triple."""
    done = xnatctl(
        "session", "upload", exam.directory, "-P", "DEMO", "-S", "subj01", "-E", "wait01", "--prearchive", env=alice
    )
    assert done.code == 0, done.err
    (row,) = sandbox.state.prearchive
    return "DEMO", row.timestamp, "wait01"


@pytest.fixture
def on_screen(environment):
    """Runs the command in a terminal of so many columns; returns the lines that it wrote."""

    def run(width, *arguments, env):
        master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, width))
        lasting = {key: value for key, value in environment.items() if key != "COLUMNS"} | {"TERM": "xterm"}
        command = [sys.executable, "-m", "xnatctl", *arguments]
        done = subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, env={**lasting, **env})
        os.close(slave)
        text = b""
        with contextlib.suppress(OSError):  # Linux ends a pseudo-terminal this way
            while piece := os.read(master, 65536):
                text += piece
        os.close(master)
        assert done.wait() == 0
        return text.decode().splitlines()

    return run


def test_session_list_in_every_format(xnatctl, alice, archived, exam):
    def listed(fmt):
        done = xnatctl("session", "list", "-P", "DEMO", "-o", fmt, env=alice)
        assert done.code == 0, done.err
        return done.out

    (session,) = json.loads(listed("json"))["sessions"]
    assert (session["label"], session["subject_label"], session["uid"]) == ("sess01", "subj01", exam.study_instance_uid)
    assert json.loads(listed("ndjson"))["label"] == "sess01"
    assert yaml.safe_load(listed("yaml"))["sessions"][0]["label"] == "sess01"
    assert next(csv.DictReader(io.StringIO(listed("csv"))))["label"] == "sess01"
    assert next(csv.DictReader(io.StringIO(listed("tsv")), delimiter="\t"))["label"] == "sess01"
    assert "sess01" in listed("table")
    assert xnatctl("session", "list", "-P", "DEMO", "-q", env=alice).out == "XNAT_E00001\n"


def test_filters(xnatctl, alice, archived):
    def labels(*more):
        return [
            s["label"]
            for s in xnatctl("session", "list", "-P", "DEMO", "-o", "json", *more, env=alice).document["sessions"]
        ]

    assert labels("--modality", "mr") == ["sess01"]
    assert labels("--modality", "CT") == []
    assert labels("-S", "subj01") == ["sess01"]
    assert labels("-S", "nobody") == []


@pytest.mark.parametrize("how", [("-E", "sess01", "-P", "DEMO"), ("-E", "XNAT_E00001")])
def test_scan_list_by_label_and_by_id(xnatctl, alice, archived, how):
    done = xnatctl("scan", "list", *how, "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert [(scan["id"], scan["files"], scan["modality"]) for scan in done.document["scans"]] == [
        ("1", 20, "MR"), ("2", 20, "MR"), ("3", 20, "MR"),
    ]  # fmt: skip


def test_session_show(xnatctl, alice, archived):
    done = xnatctl("session", "show", "sess01", "-P", "DEMO", "-o", "json", env=alice)
    assert done.document["id"] == "XNAT_E00001"
    assert len(done.document["scans"]) == 3
    assert "60 files" in xnatctl("session", "show", "sess01", "-P", "DEMO", env=alice).out


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_three_words_of_a_waiting_session_can_be_copied_from_the_screen(
    on_screen, xnatctl, alice, exam, sandbox, width
):
    label = "a_long_label_of_a_session_in_the_prearchive_" + "9" * 20
    upload = ("session", "upload", exam.directory, "-P", "DEMO", "-S", "subj01", "-E", label, "--prearchive")
    assert xnatctl(*upload, env=alice).code == 0
    (line,) = [line for line in on_screen(width, "prearchive", "list", env=alice) if label in line]
    words = line.split()[:3]
    assert words == ["DEMO", sandbox.state.prearchive[0].timestamp, label]
    assert xnatctl("prearchive", "show", *words, env=alice).code == 0


def test_what_is_not_there_says_where_to_look(xnatctl, alice, waiting):
    missing = xnatctl("scan", "list", "-E", "wait01", "-P", "DEMO", env=alice)
    assert missing.code == 2
    assert "xnatctl prearchive list -P DEMO" in missing.err
    assert xnatctl("scan", "list", "-E", "wait01", env=alice).code == 2
    assert xnatctl("session", "list", "-P", "NOWHERE", env=alice).code == 2
    assert "1 more session waits in the prearchive" in xnatctl("session", "list", "-P", "DEMO", env=alice).out


def test_the_list_prints_the_triple_that_the_others_take(xnatctl, alice, waiting):
    for flag in ("-P", "--project"):
        done = xnatctl("prearchive", "list", flag, "DEMO", "-q", env=alice)
        assert tuple(done.out.split()) == waiting
    shown = xnatctl("prearchive", "show", *waiting, "-o", "json", env=alice).document
    assert (shown["status"], [scan["id"] for scan in shown["scans"]]) == ("READY", ["1", "2", "3"])
    assert sum(scan["files"] for scan in shown["scans"]) == 60


def test_archive_moves_it_and_proves_it(xnatctl, alice, waiting, sandbox, exam, assert_exactly):
    dry = xnatctl("prearchive", "archive", *waiting, "--dry-run", env=alice)
    assert dry.code == 0
    assert sandbox.state.prearchive
    done = xnatctl(
        "prearchive", "archive", *waiting, "--subject", "other", "--label", "final01", "-o", "json", env=alice
    )
    assert done.code == 0, done.err
    assert (done.document["label"], done.document["id"]) == ("final01", "XNAT_E00001")
    assert_exactly(sandbox, exam.digests, place="archive", label="final01")
    again = xnatctl("prearchive", "archive", *waiting, env=alice)
    assert again.code == 2


def test_archive_never_merges_unasked(xnatctl, alice, archived, exam, sandbox):
    done = xnatctl(
        "session", "upload", exam.directory, "-P", "DEMO", "-S", "subj01", "-E", "sess01", "--prearchive", env=alice
    )
    assert done.code == 0, done.err
    (row,) = sandbox.state.prearchive
    triple = ("DEMO", row.timestamp, "sess01")
    assert xnatctl("prearchive", "archive", *triple, env=alice).code == 7
    refused = xnatctl("prearchive", "archive", *triple, "--overwrite", "append", "-o", "json", env=alice)
    assert refused.code == 7
    assert "refuses to add any of them" in refused.document["error"]["message"]
    row.status = "CONFLICT"
    listed = xnatctl("prearchive", "list", env=alice)
    assert "CONFLICT" in listed.out
    assert "prearchive show" in listed.out
    assert xnatctl("prearchive", "archive", *triple, "--overwrite", "delete", env=alice).code == 0
    assert sandbox.state.prearchive == []


@pytest.mark.parametrize(
    ("flag", "value", "clean"), [("--label", "a b", "'a_b'"), ("--subject", "s.1", "'s_1'"), ("--label", "é", "'_'")]
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_archive_refuses_a_label_that_would_be_another(xnatctl, alice, waiting, sandbox, flag, value, clean, dry):
    """XNAT cleans it as it archives, and the session would be looked for in vain."""
    done = xnatctl("prearchive", "archive", *waiting, flag, value, *dry, env=alice)
    assert done.code == 7, done.err
    assert clean in done.err
    (row,) = sandbox.state.prearchive
    assert row.status == "READY"


@pytest.mark.parametrize(("subject", "study", "told"), [("other", None, "--subject subj01"), (None, "1.2.9", "1.2.9")])
def test_archive_refuses_to_add_to_somebody_elses_session(
    xnatctl, alice, archived, exam, sandbox, subject, study, told
):
    """XNAT says so as well, but afterwards, and leaves a row in CONFLICT (xnat-import 3.4)."""
    names = ("-P", "DEMO", "-S", "subj01", "-E", "sess02")
    assert xnatctl("session", "upload", exam.directory, *names, "--prearchive", env=alice).code == 0
    (row,) = sandbox.state.prearchive
    row.subject, row.tag = subject or row.subject, study or row.tag
    triple = ("DEMO", row.timestamp, "sess02")
    done = xnatctl("prearchive", "archive", *triple, "--label", "sess01", "--overwrite", "delete", env=alice)
    assert done.code == 7, done.err
    assert told in done.err
    assert row.status == "READY"


def test_delete_asks_and_looks_afterwards(xnatctl, alice, waiting, sandbox):
    assert xnatctl("prearchive", "delete", *waiting, env=alice).code == 2, "nobody can be asked here"
    assert xnatctl("prearchive", "delete", *waiting, "--dry-run", env=alice).code == 0
    assert len(sandbox.state.prearchive) == 1
    for status in ("RECEIVING", "QUEUED_BUILDING", "BUILDING", "_ARCHIVING"):
        sandbox.state.prearchive[0].status = status
        for more in (("--yes",), ("--yes", "--dry-run")):
            busy = xnatctl("prearchive", "delete", *waiting, *more, env=alice)
            assert busy.code == 7, busy.err
            assert status in busy.err
            assert f"xnatctl prearchive delete {' '.join(waiting)} --force" in busy.err
            assert ("xnatctl upload status" in busy.err) == (status == "RECEIVING")
        assert len(sandbox.state.prearchive) == 1
    locked = xnatctl("prearchive", "delete", *waiting, "--yes", "--force", env=alice)
    assert locked.code == 4
    assert "still exists" in locked.err
    sandbox.state.prearchive[0].status = "READY"
    assert xnatctl("prearchive", "delete", *waiting, "--yes", env=alice).code == 0
    assert sandbox.state.prearchive == []
    assert xnatctl("prearchive", "delete", *waiting, "--yes", env=alice).code == 2


def test_a_reader_may_not_archive(xnatctl, waiting, sandbox):
    bob = {"XNAT_URL": sandbox.url, "XNAT_USER": "bob", "XNAT_PASS": "bob"}
    assert xnatctl("prearchive", "archive", *waiting, env=bob).code == 3
    assert len(sandbox.state.prearchive) == 1


def test_a_slow_archive_is_waited_for(xnatctl, alice, waiting, sandbox):
    """The server gives up waiting, its job goes on: 500 is no failure yet (xnat-import 6.4)."""
    sandbox.state.site["sessionArchiveTimeoutInterval"] = 0.2
    sandbox.switches.archive_seconds = 1.5
    done = xnatctl("prearchive", "archive", *waiting, env=alice)
    assert done.code == 0, done.err


def test_a_list_without_hits_does_not_count_what_it_does_not_show(xnatctl, alice, archived):
    nothing = ("--filter", "id=nothing")
    assert (
        "\n0 of 3 resources, 0 files.\n" in xnatctl("resource", "list", "sess01", "-P", "DEMO", *nothing, env=alice).out
    )
    assert xnatctl("session", "list", "-P", "DEMO", *nothing, env=alice).out == "0 of 1 session in project DEMO.\n"
    assert xnatctl("upload", "status", *nothing).out == "0 of 1 upload, 0 not complete.\n"


def test_doctor(xnatctl, alice, sandbox):
    done = xnatctl("doctor", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert {check["status"] for check in done.document["checks"]} == {"ok"}
    assert xnatctl("doctor", env={**alice, "XNAT_PASS": "wrong"}).code == 3


def test_every_list_chooses_rows_and_columns_in_every_format(xnatctl, alice, archived, sandbox):
    scans = ("scan", "list", "-P", "DEMO", "-E", "sess01")
    chosen = (*scans, "--columns", "id,FILES", "--filter", "id!=2", "--sort-by", "-id", "--limit", "1")
    done = xnatctl(*chosen, "-o", "json", env=alice)
    assert (done.code, done.document["scans"]) == (0, [{"id": "3", "files": 20}])
    assert done.document["session"]["label"] == "sess01"
    assert done.err == "Left out 2 of 3 rows: 1 by --filter, 1 by --limit.\n"
    assert xnatctl(*chosen, "-o", "csv", env=alice).out.split() == ["id,files", "3,20"]
    assert json.loads(xnatctl(*chosen, "-o", "ndjson", env=alice).out) == {"id": "3", "files": 20}
    assert (xnatctl(*chosen, "-q", env=alice).out, xnatctl(*chosen, "-q", env=alice).err) == ("3\n", "")
    assert xnatctl(*scans, "--filter", "id!=2", env=alice).out.splitlines()[-1].startswith("2 of 3 scans, 40 files in ")
    before = len(sandbox.requests)
    wrong = xnatctl(*scans, "--columns", "nr", env=alice)
    assert (wrong.code, wrong.out) == (2, "")
    assert "There are: id, type" in wrong.err
    assert len(sandbox.requests) == before  # refused before the login
