"""The import service and its traps (xnat-import 0 to 4)."""

from __future__ import annotations

import io
import threading
import zipfile

import pytest


@pytest.fixture
def records(exam):
    return list(exam.instances.values())


def stored(sandbox, **wanted):
    found = [e for e in sandbox.instances() if all(e[k] == v for k, v in wanted.items())]
    return sorted(e["sha256"] for e in found)


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_a_plain_upload_stays_receiving_and_answers_one_uri(import_, sandbox, records, kind):
    answer = import_(records, kind)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/uri-list")
    assert answer.text.startswith("/data/prearchive/projects/DEMO/")
    assert answer.text.endswith("/e\r\n")
    (row,) = sandbox.state.prearchive
    assert (row.status, row.subject, row.prevent_auto_commit) == ("RECEIVING", "s", True)
    assert stored(sandbox, place="prearchive") == sorted(r.sha256 for r in records)


def test_x_tar_with_gzip_inside_is_read_as_plain_tar(http_call, bundle, records, sandbox):
    query = {"import-handler": "DICOM-zip", "inbody": "true", "PROJECT_ID": "DEMO"}
    data = bundle(records, "tgz")
    answer = http_call("POST", "/data/services/import", query=query, body=data, kind="application/x-tar")
    assert (answer.status, "<h3>unable to read data from file</h3>" in answer.text) == (400, True)


def test_200_and_nothing_stored(http_call, import_, sandbox, records):
    query = {"import-handler": "DICOM-zip", "inbody": "true", "PROJECT_ID": "DEMO"}
    for data in (b"this is no zip", zipfile_of({})):
        answer = http_call("POST", "/data/services/import", query=query, body=data, kind="application/zip")
        assert (answer.status, answer.body) == (200, b"")
    sandbox.state.projects["DEMO"].series_filter = ("Phantom 1",)
    first = [r for r in records if r.series_instance_uid == records[0].series_instance_uid]
    assert import_(first).body == b""
    assert sandbox.instances() == []
    sandbox.state.projects["DEMO"].series_filter = ()
    sandbox.switches.rejected_instances = {records[0].sop_instance_uid}
    assert import_(records[:1]).body == b""


def zipfile_of(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(("project", "user"), [("NOWHERE", "alice"), ("DEMO", "bob"), ("PRIVATE", "alice")])
def test_a_project_that_cannot_be_written_to_is_no_error(import_, sandbox, records, project, user):
    answer = import_(records[:1], user=user, PROJECT_ID=project)
    assert answer.status == 200
    assert "/projects/Unassigned/" in answer.text


def test_the_project_parameter_by_handler(http_call, sandbox, records):
    def send(handler, **more):
        query = {"import-handler": handler, "inbody": "true", **more}
        body = (
            records[0].path.read_bytes()
            if handler == "gradual-DICOM"
            else zipfile_of({"a": records[0].path.read_bytes()})
        )
        kind = "application/dicom" if handler == "gradual-DICOM" else "application/zip"
        return http_call("POST", "/data/services/import", query=query, body=body, kind=kind).text

    assert "/DEMO/" in send("DICOM-zip", project="DEMO", session="x1")
    assert "/Unassigned/" in send("gradual-DICOM", project="DEMO", session="x2"), "lower case is not read there"
    assert "/DEMO/" in send("gradual-DICOM", PROJECT_ID="DEMO", EXPT_LABEL="x3")


def test_nothing_is_rolled_back_and_ignore_unparsable_hides_it(import_, sandbox, records):
    answer = import_(records[:2], extra={"z.txt": b"not DICOM at all" * 40})
    assert answer.status == 400
    assert "<h3>unable to read DICOM object z.txt</h3>" in answer.text
    assert len(stored(sandbox)) == 2
    assert import_(records[2:3], extra={"z.txt": b"no" * 300}, Ignore__Unparsable="true").status == 200
    assert import_(records[3:4], extra={"z.txt": b"no" * 300}, action="commit").status == 200, (
        "commit flips the default"
    )


def test_older_servers_read_no_tar_and_know_no_direct_archive(import_, sandbox, records):
    sandbox.state.version = "1.8.2"
    assert "Unsupported format" in import_(records, "tar").text
    answer = import_(records, Direct__Archive="true")
    assert answer.text.startswith("/data/prearchive/")


def test_names_decide_and_only_their_last_part_counts(import_, http_call, bundle, sandbox, records):
    query = {"import-handler": "DICOM-zip", "inbody": "true", "PROJECT_ID": "DEMO", "EXPT_LABEL": "e"}
    data = bundle(records[:1])
    bad = http_call("POST", "/data/services/import/x.ZIP", query=query, body=data, kind="application/zip")
    assert "Unsupported format UNKNOWN" in bad.text
    nested = zipfile_of({"inner.zip": bundle(records[:2]), "x.dcm.gz": b"x"})
    answer = http_call("POST", "/data/services/import", query=query, body=nested, kind="application/zip")
    assert "Unsupported format GZ" in answer.text
    assert len(stored(sandbox)) == 2
    import_(records[2:3], names=lambda r: "a/b/../c.dcm", rename="false", EXPT_LABEL="f")
    assert [e["path"].rpartition("/")[2] for e in sandbox.instances() if e["session"] == "f"] == ["c.dcm"]


def test_chunked_only_for_zip(http_call, bundle, records):
    query = {"import-handler": "DICOM-zip", "inbody": "true", "PROJECT_ID": "DEMO"}
    headers = {"Transfer-Encoding": "chunked"}
    ok = http_call(
        "POST",
        "/data/services/import",
        query=query,
        body=iter([bundle(records)]),
        kind="application/zip",
        headers=headers,
        chunked=True,
    )
    assert ok.status == 200
    bad = http_call(
        "POST",
        "/data/services/import",
        query=query,
        body=iter([bundle(records, "tar")]),
        kind="application/x-tar",
        headers=headers,
        chunked=True,
    )
    assert bad.status == 400


def test_unknown_handler_and_format_html(import_, records):
    assert import_(records, import__handler="Nonsense").status == 404
    hidden = import_(records[:1], extra={"z": b"no" * 300}, format="html")
    assert hidden.status == 200
    assert hidden.text.startswith("<html>")


def test_the_same_instance_again_is_idempotent_with_rename_and_doubled_without(import_, sandbox, records):
    for _ in range(2):
        import_(records[:1])
    assert len(stored(sandbox)) == 1
    import_(records[:1], names=lambda r: "one.dcm", rename="false")
    import_(records[:1], names=lambda r: "two.dcm", rename="false")
    assert len(stored(sandbox)) == 3


def test_parallel_requests_of_one_name_lose_an_instance_without_rename(import_, sandbox, records):
    """The window between choosing a name and locking it (4.3)."""
    sandbox.switches.race_seconds = 0.3
    answers = []

    def send(record):
        answers.append(import_([record], names=lambda r: "upload.dcm", rename="false"))

    same_series = records[:2]
    threads = [threading.Thread(target=send, args=(record,)) for record in same_series]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored(sandbox)) == 1
    assert {answer.status for answer in answers} <= {200, 400}


def test_parallel_plain_batches_join_one_row(import_, sandbox, records):
    answers = []
    threads = [threading.Thread(target=lambda r=r: answers.append(import_([r]).text)) for r in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert len(sandbox.state.prearchive) == 1
    assert len(stored(sandbox)) == len(records)


def test_first_file_decides_the_flags(import_, sandbox, records):
    import_(records[:1], prevent_auto_commit="false", SUBJECT_ID="first")
    import_(records[1:2], prevent_auto_commit="true", SUBJECT_ID="second")
    (row,) = sandbox.state.prearchive
    assert (row.prevent_auto_commit, row.subject) == (False, "first")


def test_overwrite_none_merges_like_append(import_, sandbox, records):
    import_(records[:2], dest="/archive")
    assert import_(records[2:3], dest="/archive", overwrite="none").status == 200
    assert len(stored(sandbox, place="archive")) == 3


def test_a_malformed_dest(import_, records):
    assert "Parameter dest format error" in import_(records, dest="/nowhere/x").text


def test_everything_that_came_in_is_on_record(import_, sandbox, records):
    import json

    import_(records)
    lines = [json.loads(line) for line in (sandbox.directory / "received.jsonl").read_text().splitlines()]
    assert {line["sha256"] for line in lines} == {record.sha256 for record in records}
