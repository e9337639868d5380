"""Corners of prearchive and archive (xnat-import 3.4, 4.4, 6)."""

from __future__ import annotations

import io
import threading
import zipfile

import pytest


@pytest.fixture
def records(exam):
    return list(exam.instances.values())


@pytest.fixture
def staged(import_, http_call, records):
    uri = import_(records).text.strip()
    assert http_call("POST", uri, query={"action": "build"}).status == 200
    return uri


@pytest.fixture
def other(tmp_path):
    from xnatctl.testing import write_exam

    return list(write_exam(tmp_path / "other", series=1, instances=2, seed=9, clutter=False).instances.values())


def test_a_delete_with_something_behind_it_is_400(http_call, staged, sandbox):
    assert http_call("DELETE", f"{staged}/extra").status == 400
    assert len(sandbox.state.prearchive) == 1


def test_formats_of_a_session(http_call, staged, records):
    assert http_call("GET", staged).headers["Content-Type"].startswith("text/xml")
    assert http_call("GET", staged, query={"format": "html"}).status == 500, "needs a screen"
    assert http_call("GET", staged, query={"format": "html", "screen": "x"}).status == 200
    whole = zipfile.ZipFile(io.BytesIO(http_call("GET", staged, query={"format": "zip"}).body))
    assert len([name for name in whole.namelist() if name.endswith(".dcm")]) == len(records)
    missing = staged.replace("/e", "/nobody")
    assert http_call("GET", missing, query={"format": "json"}).rows == []
    assert http_call("GET", missing).status == 404
    single = http_call("GET", staged, query={"format": "single"})
    assert single.status == 200


def test_a_scan_can_be_taken_out(http_call, staged, sandbox):
    assert http_call("DELETE", f"{staged}/scans/1").status == 200
    assert [row["ID"] for row in http_call("GET", f"{staged}/scans").rows] == ["2"]
    assert {entry["scan"] for entry in sandbox.instances()} == {"2"}
    assert http_call("DELETE", f"{staged}/scans/1").status == 404
    assert http_call("GET", f"{staged}/resources").rows == []


def test_logs(http_call, staged, import_, records):
    http_call("POST", staged, query={"action": "commit", "AA": "true"})
    uri = import_(records).text.strip()
    http_call("POST", uri, query={"action": "commit", "AA": "true"})
    (row,) = http_call("GET", f"{uri}/logs").rows
    assert "same resources" in row["entry"]
    assert http_call("GET", f"{uri}/logs/0").text == row["entry"] == http_call("GET", f"{uri}/logs/last").text
    assert http_call("GET", f"{uri}/logs", query={"template": "ids"}).rows == [{"id": "0"}]


def test_a_build_takes_parameters(http_call, staged):
    http_call(
        "POST",
        staged,
        body=b"action=build&VISIT=v2&PROTOCOL=p&TIMEZONE=UTC&SOURCE=x",
        kind="application/x-www-form-urlencoded",
    )
    (row,) = http_call("GET", "/data/prearchive/projects/DEMO").rows
    assert (row["VISIT"], row["PROTOCOL"], row["TIMEZONE"], row["SOURCE"]) == ("v2", "p", "UTC", "x")


def test_batches_with_mistakes(http_call, staged):
    batch = lambda operation, **query: http_call("POST", f"/data/services/prearchive/{operation}", query=query)  # noqa: E731
    assert batch("delete", src="nonsense").status == 500
    assert batch("move", src=staged, newProject="NOWHERE").status == 404
    assert batch("move", src=staged, newProject="PRIVATE").status == 403
    assert batch("delete", src=staged.replace("/e", "/gone")).rows == []


def test_a_rebuild_by_batch_does_not_archive(http_call, staged, sandbox, until):
    answer = http_call("POST", "/data/services/prearchive/rebuild", query={"src": staged})
    assert answer.rows[0]["status"] == "QUEUED_BUILDING"
    assert until(lambda: sandbox.state.prearchive[0].status == "READY")


def test_the_idle_job_queues_what_is_due(import_, records, sandbox, until):
    import_(records, prevent_auto_commit="false", PROJECT_ID="MANUAL")
    import_(records, prevent_auto_commit="false", EXPT_LABEL="second", PROJECT_ID="MANUAL")
    sandbox.switches.build_seconds = 60
    sandbox.advance_clock(301)
    thread = threading.Thread(target=sandbox.tick)
    thread.start()
    assert until(lambda: [row.status for row in sandbox.state.prearchive] == ["_BUILDING", "QUEUED_BUILDING"])
    sandbox.switches.build_seconds = 0
    thread.join()
    assert [row.status for row in sandbox.state.prearchive] == ["READY", "READY"]


def test_a_file_in_the_instant_before_a_build_sends_the_row_back(http_call, import_, records, sandbox, until):
    """RECEIVING_INTERRUPT: the build ends, nothing is archived, the row is RECEIVING again (4.4)."""
    uri = import_(records[:-1]).text.strip()
    sandbox.switches.queue_seconds = 60
    answers = []
    thread = threading.Thread(target=lambda: answers.append(import_(records[:1], dest="/archive")))
    thread.start()
    assert until(lambda: sandbox.state.prearchive[0].status == "BUILDING")
    assert import_(records[-1:]).text.strip() == uri
    assert sandbox.state.prearchive[0].status == "RECEIVING_INTERRUPT"
    sandbox.switches.queue_seconds = 0
    thread.join()
    assert (answers[0].status, answers[0].body) == (200, b""), "the archive step was skipped in silence"
    assert sandbox.state.prearchive[0].status == "RECEIVING"


def test_a_file_during_the_build_is_on_disk_and_in_no_catalog(http_call, import_, records, sandbox, until):
    uri = import_(records[:-1]).text.strip()
    sandbox.switches.build_seconds = 60
    thread = threading.Thread(target=http_call, args=("POST", uri), kwargs={"query": {"action": "build"}})
    thread.start()
    assert until(lambda: sandbox.state.prearchive[0].status == "_BUILDING")
    import_(records[-1:])
    sandbox.switches.build_seconds = 0
    thread.join()
    assert sandbox.state.prearchive[0].status == "READY"
    assert sum(not entry["catalogued"] for entry in sandbox.instances()) == 1
    failed = http_call("POST", "/data/services/archive", query={"src": uri, "auto-archive": "false"})
    assert (failed.status, "non-DICOM (or non-parsable DICOM) files" in failed.text) == (500, True)
    assert sandbox.state.prearchive[0].status == "ERROR"
    http_call("POST", uri, query={"action": "build"})
    assert http_call("POST", "/data/services/archive", query={"src": uri, "auto-archive": "false"}).status == 200


def test_a_status_is_not_updated_when_the_folder_is_not_the_label(http_call, import_, records, sandbox):
    uri = import_(records[:4], PREARC_SESSION_FOLDER="elsewhere").text.strip()
    http_call("POST", uri, query={"action": "build"})
    assert import_(records[4:]).text.strip() == uri
    assert sandbox.state.prearchive[0].status == "READY"


# the archiver's checks, 3.4


def test_a_dry_run_of_the_checks(http_call, staged, import_, records):
    check = lambda uri: http_call("POST", "/data/services/validate-archive", query={"src": uri})  # noqa: E731
    assert check(staged).rows == []
    http_call("POST", staged, query={"action": "commit", "AA": "true"})
    uri = import_(records, SUBJECT_ID="another").text.strip()
    http_call("POST", uri, query={"action": "build"})
    found = check(uri).rows
    assert {row["type"] for row in found} == {"CONFLICT"}
    assert any("subject" in row["message"] for row in found)
    assert any("same resources" in row["message"] for row in found)
    assert list(found[0]) == ["code", "type", "message"]
    assert check("nonsense").status == 400
    assert http_call("POST", "/data/services/validate-archive").status == 404


def test_the_destination_is_in_use(http_call, import_, records, other, sandbox, until):
    first = import_(records).text.strip()
    second = import_(other).text.strip()
    for uri in (first, second):
        http_call("POST", uri, query={"action": "build"})
    sandbox.switches.archive_seconds = 60
    archive = {"auto-archive": "false"}
    thread = threading.Thread(
        target=http_call, args=("POST", "/data/services/archive"), kwargs={"query": {**archive, "src": first}}
    )
    thread.start()
    assert until(lambda: any(row.status == "_ARCHIVING" for row in sandbox.state.prearchive))
    answer = http_call("POST", "/data/services/archive", query={**archive, "src": second})
    assert (answer.status, "Destination session in use" in answer.text) == (500, True)
    sandbox.switches.archive_seconds = 0
    thread.join()


def test_modalities_are_kept_apart_when_the_site_says_so(http_call, import_, records, sandbox, exam):
    import_(records, dest="/archive")
    sandbox.state.site["preventCrossModalityMerge"] = True
    sandbox.state.experiments["XNAT_E00001"].xsi_type = "xnat:ctSessionData"
    uri = import_(records).text.strip()
    answer = http_call("POST", uri, query={"action": "commit", "AA": "true"})
    assert (answer.status, "modality" in answer.text) == (500, True)


def test_overwriting_files_does_not_move_a_series(http_call, import_, records, sandbox):
    """Check 7 falls with `delete`, not with overwrite_files (3.4)."""
    import_(records, dest="/archive")
    (scan, _) = sandbox.state.experiments["XNAT_E00001"].scans.values()
    scan.uid, old = "1.2.3", scan.uid
    sandbox.state.experiments["XNAT_E00001"].scans["2"].uid = old
    refused = import_(records, dest="/archive", overwrite="append", overwrite_files="true")
    assert refused.status == 400
    assert sandbox.state.prearchive[0].status == "CONFLICT"


def test_a_label_by_its_xml_path(http_call, staged):
    query = {"src": staged, "auto-archive": "false", "xnat:mrSessionData/label": "renamed"}
    assert http_call("POST", "/data/services/archive", query=query).text.endswith("/experiments/renamed\r\n")
