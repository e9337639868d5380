"""Trouble after the last file: each kind has its own message, with the server's reason and the next command."""

from __future__ import annotations

import threading
import time

import pytest
from children import HANGS

pytestmark = [pytest.mark.once, pytest.mark.lab]
STAGED = "1.8.3"


def posts(lab, path):
    return [r for r in lab.sandbox.requests if r["method"] == "POST" and path in r["path"]]


def meanwhile(lab, condition, action):
    """Do something to the server when `condition` holds; returns the exit code and the report of the upload."""
    running = lab.start()
    while not condition():
        time.sleep(0.005)
        assert running.poll() is None, running.err
    action()
    out, err = running.communicate()
    import json

    assert b"Traceback" not in err
    return running.wait(), json.loads(out)


def test_a_conflict_names_what_the_server_logged_and_where_to_look(lab, xnatctl, elsewhere):
    """The modality of the session is another one by now, which XNAT alone compares."""
    assert xnatctl(*lab.upload("tar").arguments, env=elsewhere).code == 0
    (session,) = lab.sandbox.state.experiments.values()
    session.xsi_type = "xnat:ctSessionData"
    lab.sandbox.state.site["preventCrossModalityMerge"] = True
    code, report = lab.upload("tar", "--overwrite", "delete").run()
    assert (code, report["error"]["code"]) == (6, "not-archived")
    assert "Invalid modification" in report["error"]["message"]
    assert "xnatctl prearchive show DEMO" in report["error"]["hint"]
    assert report["destination"]["state"] == "prearchive"


def test_an_error_names_what_the_server_logged(lab):
    """A file that is no DICOM got into the session behind everybody's back."""
    lab.sandbox.state.version = STAGED
    lab.sandbox.faults.load([{"match": {"path": "/services/archive"}, "action": "delay", "seconds": HANGS}])
    lab.upload("tar")

    def spoil():
        (row,) = lab.sandbox.state.prearchive
        next(row.directory.glob("SCANS/*/DICOM")).joinpath("late.dcm").write_text("not an image")
        lab.sandbox.faults.end()

    code, report = meanwhile(lab, lambda: posts(lab, "/services/archive"), spoil)
    assert (code, report["error"]["code"]) == (6, "not-archived")
    assert "the session is ERROR" in report["error"]["message"]
    assert "non-parsable DICOM" in report["error"]["message"]
    assert "xnatctl prearchive show DEMO" in report["error"]["hint"]


def test_a_direct_archive_that_fails_is_committed_from_where_the_server_put_it(lab, assert_exactly):
    lab.sandbox.switches.direct_archive_fails = True
    code, report = lab.upload("tar").run()
    lab.sandbox.switches.direct_archive_fails = False
    if code != 0:
        assert code == 6
        assert "prearchive" in report["error"]["hint"]
        code, report = lab.run()
    assert code == 0, report["error"]
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


def test_a_row_that_is_never_built_is_said_to_be_still_receiving(lab):
    lab.sandbox.state.version = STAGED
    lab.sandbox.faults.load([{"match": {"method": "POST", "path": "/data/prearchive/"}, "action": "cut-before-body"}])
    code, report = lab.upload("tar", "--wait", "2").run()
    assert code == 6
    assert "still RECEIVING after 2 s" in report["error"]["message"]
    assert "xnatctl prearchive show DEMO" in report["error"]["hint"]
    assert len(posts(lab, "/data/prearchive/")) > 1, "it was asked again while it said that nobody had"


@pytest.mark.parametrize("version", [STAGED, "1.8.11"])
def test_an_archiving_that_takes_longer_than_the_wait_goes_on_and_is_found_later(lab, assert_exactly, version):
    lab.sandbox.state.version = version
    lab.sandbox.state.site["sessionArchiveTimeoutInterval"] = 0.2
    lab.sandbox.switches.archive_seconds = HANGS
    code, report = lab.upload("tar", "--wait", "2").run()
    assert code == 6
    assert "after 2 s" in report["error"]["message"]
    assert report["error"]["hint"]
    lab.sandbox.switches.archive_seconds = 0
    code, report = lab.run()
    assert (code, report["counts"]["skipped"]) == (0, 60), report["error"]
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


def test_the_servers_own_time_out_is_no_failure(lab, assert_exactly):
    """500 "did not complete within the configured timeout interval", and the job goes on (xnat-import 6.4)."""
    lab.sandbox.state.version = STAGED
    lab.sandbox.state.site["sessionArchiveTimeoutInterval"] = 0.2
    lab.sandbox.switches.archive_seconds = 1.5
    code, report = lab.upload("tar").run()
    assert code == 0, report["error"]
    assert len(posts(lab, "/services/archive")) == 1
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


@pytest.mark.parametrize("status", [502, 504])
@pytest.mark.parametrize("action", ["store-then-status", "status"])
def test_a_proxy_that_gives_up_is_not_believed(lab, assert_exactly, action, status):
    """It may have lost the answer, or never have passed the call on: the row tells."""
    lab.sandbox.state.version = STAGED
    lab.sandbox.faults.load([{"match": {"path": "/services/archive"}, "nth": 1, "action": action, "status": status}])
    code, report = lab.upload("tar").hasten().run()
    assert code == 0, report["error"]
    assert len(posts(lab, "/services/archive")) == (1 if "store" in action else 2)
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


def test_a_session_that_is_moved_to_another_project_while_it_settles(lab):
    lab.sandbox.state.version = STAGED
    lab.sandbox.switches.archive_seconds = HANGS
    lab.upload("tar")

    def move():
        (row,) = lab.sandbox.state.prearchive
        row.project = "MANUAL"
        lab.sandbox.faults.load([{"match": {"path": "/services/archive"}, "action": "status", "status": 504}])
        lab.sandbox.switches.archive_seconds = 0

    lab.sandbox.faults.load([{"match": {"path": "/services/archive"}, "nth": 1, "action": "hold", "seconds": HANGS}])
    code, report = meanwhile(lab, lambda: posts(lab, "/services/archive"), move)
    assert (code, report["error"]["code"]) == (6, "not-archived")
    assert "no session e" in report["error"]["message"]
    assert "moved" in report["error"]["hint"]


def test_a_locked_row_refuses_and_says_to_wait(lab, xnatctl, elsewhere):
    assert xnatctl(*lab.upload("tar", "--prearchive").arguments, env=elsewhere).code == 0
    (row,) = lab.sandbox.state.prearchive
    row.status = "_ARCHIVING"
    code, report = lab.upload("tar").run()
    assert code == 7
    assert "_ARCHIVING" in report["error"]["message"]
    assert "xnatctl prearchive list" in report["error"]["hint"]


def test_an_auto_archive_project_answers_with_a_redirect_that_is_not_followed(lab, assert_exactly):
    lab.sandbox.state.version = STAGED
    lab.sandbox.state.projects["DEMO"].prearchive_code = 5
    code, report = lab.upload("tar").run()
    assert code == 0, report["error"]
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


@pytest.mark.parametrize("call", ["/services/archive", "/xapi/direct-archive"])
def test_a_server_that_restarts_while_it_archives(lab, assert_exactly, call):
    from xnatctl_sandbox.server import Sandbox

    first = lab.sandbox
    first.state.version = STAGED if "services" in call else "1.8.11"
    first.switches.archive_seconds = 1.0
    port = int(first.url.rpartition(":")[2])
    restarted = threading.Event()
    made = []

    def restart():
        first.stop()
        made.append(Sandbox(first.directory, port=port))
        made[0].start()
        restarted.set()

    lab.upload("tar")
    try:
        code, report = meanwhile(lab, lambda: posts(lab, call), restart)
        assert code == 0, report["error"]
        assert_exactly(made[0], lab.exam.digests, place="archive", label="e")
    finally:
        for second in made:
            second.stop()
        first.__dict__["stop"] = lambda: None
