"""What carries resources (xnat-api 2.4, 2.5 and 4.1)."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("parent", "uri"),
    [
        ("/data/projects/DEMO", "/data/projects/DEMO"),
        ("/data/projects/DEMO/subjects/s", "/data/subjects/XNAT_S00001"),
        ("/data/subjects/XNAT_S00001", "/data/subjects/XNAT_S00001"),
        ("/data/experiments/XNAT_E00001", "/data/experiments/XNAT_E00001"),
        ("/data/projects/DEMO/experiments/e", "/data/experiments/XNAT_E00001"),
        ("/data/projects/DEMO/subjects/s/experiments/e", "/data/experiments/XNAT_E00001"),
        ("/data/archive/projects/DEMO/subjects/s/experiments/e", "/data/experiments/XNAT_E00001"),
        ("/data/experiments/XNAT_E00001/scans/2", "/data/experiments/XNAT_E00001/scans/2"),
        ("/REST/projects/DEMO/subjects/s/experiments/e/scans/2", "/data/experiments/XNAT_E00001/scans/2"),
    ],
)
def test_every_parent_carries_resources(session, http_call, put, parent, uri):
    assert http_call("PUT", f"{parent}/resources/NOTES", query={"content": "notes"}).status == 200
    answer = put(f"{parent}/resources/NOTES/files/deep/er/a.txt", b"hello")
    assert (answer.status, answer.body) == (200, b"")
    (row,) = http_call("GET", f"{parent}/resources/NOTES/files").rows
    pk = row["cat_ID"]
    assert row["URI"] == f"{uri}/resources/{pk}/files/deep/er/a.txt"
    assert (row["Name"], row["Size"], row["collection"]) == ("a.txt", "5", "NOTES")
    assert http_call("GET", row["URI"]).body == b"hello"
    listed = {r["label"]: r for r in http_call("GET", f"{parent}/resources").rows}
    assert (listed["NOTES"]["file_count"], listed["NOTES"]["file_size"], listed["NOTES"]["content"]) == (
        "1",
        "5",
        "notes",
    )
    assert http_call("DELETE", f"{parent}/resources/NOTES").status == 200
    assert "NOTES" not in {r["label"] for r in http_call("GET", f"{parent}/resources").rows}


def test_there_is_no_files_route_below_a_session_named_by_project(session, http_call):
    answer = http_call("GET", "/data/projects/DEMO/experiments/e/files", query={"format": "json"})
    assert "items" in answer.json


def test_a_scan_that_does_not_exist(session, http_call, put):
    """A PUT wants exactly one scan; a GET does not, and finds the subject's files or breaks (2.4, 2.5)."""
    assert "Unable to identify scan" in put(f"/data/experiments/{session}/scans/99/resources/R/files/x").text
    assert put(f"/data/experiments/{session}/scans/ALL/resources/R/files/x").status == 404
    put("/data/projects/DEMO/subjects/s/resources/S/files/of-the-subject.txt")
    assert http_call("GET", f"/data/experiments/{session}/scans/99/files").status == 500
    whole = "/data/projects/DEMO/subjects/s/experiments/e/scans/99/files"
    assert [row["Name"] for row in http_call("GET", whole).rows] == ["of-the-subject.txt"]


def test_scans_by_type_with_escapes_and_null(session, http_call, sandbox):
    first, second = sandbox.state.experiments[session].scans.values()
    first.type, second.type = "T1/T2,x", ""
    names = {"1": "T1[SLASH]T2[COMMA]x", "2": "NULL"}
    for scan, name in names.items():
        rows = http_call("GET", f"/data/experiments/{session}/scans/{name}/files").rows
        assert {row["URI"].split("/scans/")[1][0] for row in rows} == {scan}
    assert len(http_call("GET", f"/data/experiments/{session}/scans/1,2/files").rows) == 8


def test_without_a_label_the_first_catalog_takes_it(session, http_call, put, held, base):
    put(f"/data/experiments/{session}/files/nameless.txt")
    assert [r["label"] for r in http_call("GET", f"/data/experiments/{session}/resources").rows] == [""]
    put(f"{base}/files/a.txt")
    put(f"/data/experiments/{session}/files/b.txt")
    assert set(held()) == {"a.txt"}
