"""Report writers of third parties: they may add options, and cannot change how a command ends."""

from __future__ import annotations

import pytest

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")
SOURCE = """
import sys
from xnatctl.api import Option, ReportWriterSpec, UsageError, XnatctlError, hookimpl
@hookimpl
def xnatctl_report_writers():
    options = (Option(name="site_note", help="A note.", required={required}),)
    return [ReportWriterSpec(name="note", summary="a note", target="dist_notes_notes:Writer", options=options)]
class Writer:
    def __init__(self, context):
        self.note = context.options["site_note"]
    def check(self):
        {check}
    def write(self, upload):
        {write}
"""


def source(check="pass", write="return self.note", required=False):
    return SOURCE.format(check=check, write=write, required=required)


@pytest.fixture
def upload(xnatctl, alice, install, exam, tmp_path):
    def run(page, *more):
        env = (
            {**alice, "PYTHONPATH": str(tmp_path / "site")}
            if (tmp_path / "site").exists()
            else alice | install("notes", page)
        )
        return xnatctl("session", "upload", exam.directory, *NAMES, *more, "-o", "json", env=env)

    return run


def test_it_is_used_when_its_option_is_given(upload):
    page = source(write="print('heard', upload.user, upload.code, len(upload.plugins)); return self.note")
    done = upload(page, "--site-note", "somewhere")
    assert (done.code, done.document["kept"]) == (0, [{"writer": "note", "place": "somewhere"}])
    assert "heard alice 0 " in done.err
    done = upload(page)
    assert (done.code, done.document["kept"]) == (0, [])
    assert "heard" not in done.err


@pytest.mark.parametrize(
    ("write", "code"),
    [
        ("raise UsageError('the disk is full.')", 1),
        ("sys.exit(0)", 1),
        ("return None", 1),
    ],
)
def test_an_upload_whose_report_is_not_kept_does_not_end_with_0(upload, write, code):
    done = upload(source(write=write), "--site-note", "x")
    assert done.code == code
    assert done.document["status"] == "complete"
    assert done.document["kept"] == []
    assert done.document["error"]["message"].startswith("The upload is complete. ")


def test_a_writer_that_changes_the_report_changes_nothing(xnatctl, alice, install, own_exam):
    """Neither the exit code, nor the document, nor what the next writer keeps."""
    damaged = next(iter(own_exam.instances.values())).path
    damaged.write_bytes(damaged.read_bytes()[:-50])
    write = (
        "report = upload.report; report.status = type(report.status)('complete'); report.failure = None; "
        "report.counts.failed = 0; report.items = (); report.warnings.clear(); report.excluded.clear(); return 'x'"
    )
    env = alice | install("notes", source(write=write))
    done = xnatctl("session", "upload", own_exam.directory, *NAMES, "--site-note", "x", "-o", "json", env=env)
    assert (done.code, done.document["status"], done.document["error"]["code"]) == (5, "partial", "incomplete")
    assert done.document["counts"]["failed"] == 1
    assert len(done.document["items"]) == 60
    assert done.document["warnings"]
    assert done.document["excluded"]


def test_an_error_before_the_first_byte_is_a_refusal(upload, sandbox):
    done = upload(source(check="raise UsageError('there is no such place.')"), "--site-note", "x")
    assert done.code == 2
    assert not sandbox.requests


def test_an_option_of_ours_is_a_clash(xnatctl, install):
    env = install("notes", source().replace("site_note", "receipt"))
    (row,) = [
        one
        for one in xnatctl("plugins", "list", "--check", "-o", "json", env=env).document["plugins"]
        if one["name"] == "notes"
    ]
    assert row["status"] == "clash"
    assert "its option --receipt belongs to plugin receipt" in row["reason"]
