"""Prearchive, archiving, direct archive (xnat-import 3.4, 4.4 to 6)."""

from __future__ import annotations

import threading
import time

import pytest


@pytest.fixture
def records(exam):
    return list(exam.instances.values())


@pytest.fixture
def staged(import_, records):
    return import_(records).text.strip()


def places(sandbox):
    return sorted(e["place"] for e in sandbox.instances())


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)  # a real server works in the background
    return False


def test_the_listing_is_text_with_a_url_without_data(http_call, staged, sandbox):
    (row,) = http_call("GET", "/data/prearchive/projects/DEMO", query={"format": "json"}).rows
    assert all(isinstance(value, str) for value in row.values())
    assert row["url"] == staged.removeprefix("/data")
    assert (row["status"], row["prevent_auto_commit"], row["autoarchive"]) == ("RECEIVING", "true", "AutoArchive")
    assert "totalRecords" not in http_call("GET", "/data/prearchive", query={"format": "json"}).json["ResultSet"]
    assert http_call("GET", "/data/prearchive", query={"tag": "1"}).status == 403


def test_unassigned_rows_show_in_every_project_for_administrators(http_call, import_, records, staged):
    import_(records[:1], PROJECT_ID="NOWHERE")
    rows = http_call("GET", "/data/prearchive/projects/MANUAL", user="admin").rows
    assert [row["project"] for row in rows] == ["Unassigned"]
    assert http_call("GET", "/data/prearchive/projects/MANUAL").rows == []
    assert len(http_call("GET", "/data/prearchive", user="admin").rows) == 2
    assert len(http_call("GET", "/data/prearchive").rows) == 1


def test_a_missing_row_is_200_and_empty_and_delete_is_always_200(http_call, staged, sandbox):
    missing = staged.replace("/e", "/other")
    assert http_call("GET", missing, query={"format": "json"}).rows == []
    assert http_call("DELETE", missing).status == 200
    sandbox.state.prearchive[0].status = "_ARCHIVING"
    assert http_call("DELETE", staged).status == 200
    assert len(sandbox.state.prearchive) == 1, "a locked row stays"


def test_scans_need_a_build(http_call, staged):
    assert http_call("GET", f"{staged}/scans").status == 404
    built = http_call("POST", staged, query={"action": "build"})
    assert built.text == staged, "no line end here"
    assert [row["ID"] for row in http_call("GET", f"{staged}/scans").rows] == ["1", "2"]
    assert len(http_call("GET", f"{staged}/scans/1/resources/DICOM/files").rows) == 4


def test_actions_that_are_none(http_call, staged):
    assert "No action parameter" in http_call("POST", staged).text
    assert http_call("POST", staged, query={"action": "rebuild"}).status == 400


def test_commit_archives_by_301_without_location(http_call, staged, sandbox):
    answer = http_call("POST", staged, query={"action": "commit", "AA": "true"})
    assert (answer.status, answer.headers["Location"]) == (301, None)
    assert answer.text == "/data/archive/projects/DEMO/subjects/s/experiments/e"
    assert set(places(sandbox)) == {"archive"}


def test_commit_keeps_it_in_a_manual_project(http_call, import_, records, sandbox):
    uri = import_(records, PROJECT_ID="MANUAL").text.strip()
    assert http_call("POST", uri, query={"action": "commit"}).status == 200
    assert set(places(sandbox)) == {"prearchive"}


def test_archive_redirects_on_auto_archive_projects_unless_told_not_to(http_call, staged, import_, records, sandbox):
    answer = http_call("POST", "/data/services/archive", query={"src": staged})
    assert answer.status == 303
    assert answer.headers["Location"].endswith("/experiments/e")
    uri = import_(records, EXPT_LABEL="other").text.strip()
    answer = http_call("POST", "/data/services/archive", query={"src": uri, "auto-archive": "false"})
    assert (answer.status, answer.text) == (200, "/data/archive/projects/DEMO/subjects/s/experiments/other\r\n")


@pytest.mark.parametrize(("overwrite", "status"), [(None, 500), ("append", 200), ("delete", 200)])
def test_single_source_archive_always_merges_and_append_overrides(
    http_call, staged, import_, records, sandbox, overwrite, status
):
    assert http_call("POST", "/data/services/archive", query={"src": staged, "auto-archive": "false"}).status == 200
    uri = import_(records[:2]).text.strip()
    query = {"src": uri, "auto-archive": "false", **({"overwrite": overwrite} if overwrite else {})}
    answer = http_call("POST", "/data/services/archive", query=query)
    assert answer.status == status
    if status == 500:
        assert "Session already exists with the same resources." in answer.text
        assert sandbox.state.prearchive[0].status == "CONFLICT"
        assert "same resources" in http_call("GET", f"{uri}/logs/last").text
    else:
        assert len(places(sandbox)) == len(records)


def test_strict_append_by_commit(http_call, staged, import_, records, sandbox):
    http_call("POST", staged, query={"action": "commit", "AA": "true"})
    uri = import_(records[:1]).text.strip()
    assert http_call("POST", uri, query={"action": "commit", "AA": "true"}).status == 500


def test_subject_and_study_are_checked(http_call, staged, import_, records, sandbox, tmp_path):
    from xnatctl.testing import write_exam

    http_call("POST", staged, query={"action": "commit", "AA": "true"})
    other = write_exam(tmp_path / "o", series=1, instances=1, seed=99, clutter=False)
    wrong_subject = import_(list(other.instances.values()), SUBJECT_ID="t").text.strip()
    assert "subject" in http_call("POST", wrong_subject, query={"action": "commit", "AA": "true"}).text
    http_call("DELETE", wrong_subject)
    wrong_study = import_(list(other.instances.values())).text.strip()
    assert "session UID" in http_call("POST", wrong_study, query={"action": "commit", "AA": "true"}).text


def test_files_that_come_while_archiving_are_accepted_and_lost(http_call, import_, records, sandbox):
    uri = import_(records[:-1]).text.strip()
    http_call("POST", uri, query={"action": "build"})
    sandbox.switches.archive_seconds = 0.6
    thread = threading.Thread(
        target=http_call, args=("POST", uri), kwargs={"query": {"action": "commit", "AA": "true"}}
    )
    thread.start()
    assert until(lambda: sandbox.state.prearchive[0].status == "_ARCHIVING")
    late = import_(records[-1:])
    thread.join()
    assert (late.status, late.text.strip()) == (200, uri)
    uncatalogued = [e for e in sandbox.instances() if not e["catalogued"]]
    assert sandbox.state.prearchive[0].status == "ERROR" if sandbox.state.prearchive else len(uncatalogued) == 1


def test_parallel_dest_archive_destroys(import_, records, sandbox):
    """Each request builds and archives the shared session (4.5): never in parallel."""
    sandbox.switches.archive_seconds = 0.1
    answers = []
    threads = [threading.Thread(target=lambda r=r: answers.append(import_([r], dest="/archive"))) for r in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    catalogued = [e for e in sandbox.instances() if e["place"] == "archive" and e["catalogued"]]
    assert len(catalogued) < len(records) or any(answer.status != 200 for answer in answers)


def test_the_idle_job_builds_and_archives_quiet_rows_only(import_, records, sandbox):
    import_(records, prevent_auto_commit="false")
    import_(records, EXPT_LABEL="kept")
    import_(records, PROJECT_ID="MANUAL", prevent_auto_commit="false")
    sandbox.tick()
    assert set(places(sandbox)) == {"prearchive"}
    sandbox.advance_clock(301)
    sandbox.tick()
    states = {(row.project, row.name): row.status for row in sandbox.state.prearchive}
    assert states == {("DEMO", "kept"): "RECEIVING", ("MANUAL", "e"): "READY"}
    assert [e.label for e in sandbox.state.experiments.values()] == ["e"]


def test_a_time_out_leaves_the_job_running(http_call, staged, sandbox):
    sandbox.state.site["sessionArchiveTimeoutInterval"] = 0.1
    sandbox.switches.archive_seconds = 0.5
    answer = http_call("POST", "/data/services/archive", query={"src": staged, "auto-archive": "false"})
    assert answer.status == 500
    assert "did not complete within" in answer.text
    assert until(lambda: bool(sandbox.state.experiments))


def test_direct_archive(http_call, import_, records, sandbox):
    uri = import_(records, Direct__Archive="true").text.strip()
    study = sandbox.state.direct[0].tag
    assert uri == f"/xapi/direct-archive/DEMO/{study}/e"
    assert http_call("GET", uri).json["status"] == "RECEIVING"
    assert http_call("POST", uri, user="bob").status == 403
    assert http_call("POST", uri).status == 200
    assert until(lambda: http_call("GET", uri).status == 404)
    assert set(places(sandbox)) == {"archive"}
    assert import_(records[:1], Direct__Archive="true").text.startswith("/data/prearchive/"), (
        "never into an existing one"
    )


def test_services_and_rights(http_call, staged, sandbox):
    assert http_call("POST", "/data/services/archive").status == 404
    assert http_call("POST", "/data/services/archive", query={"src": "/archive/x"}).status == 400
    assert http_call("POST", "/data/services/archive", user="bob", query={"src": staged}).status == 403
    answer = http_call("POST", "/data/services/prearchive/delete", query={"src": staged})
    assert answer.rows[0]["status"] == "QUEUED_DELETING"
    assert until(lambda: not sandbox.state.prearchive)


def test_a_sandbox_with_a_directory_remembers(import_, records, sandbox, http_call):
    from xnatctl_sandbox.server import Sandbox
    from xnatctl_sandbox.world.persistence import save

    uri = import_(records).text.strip()
    http_call("POST", uri, query={"action": "commit", "AA": "true"})
    import_(records, EXPT_LABEL="waiting")
    before = {(e["place"], e["sha256"], e["catalogued"]) for e in sandbox.instances()}
    save(sandbox.state)
    again = Sandbox(sandbox.directory)
    with again:
        assert {(e["place"], e["sha256"], e["catalogued"]) for e in again.instances()} == before
