"""Listings, items and resources (xnat-api 0, 2, 4)."""

from __future__ import annotations

import http.client
import io
import json
import zipfile

import pytest


@pytest.fixture
def session(import_, exam):
    import_(list(exam.instances.values()), dest="/archive")
    return "XNAT_E00001"


def put(http_call, path, data=b"data", user="alice", **query):
    return http_call(
        "PUT", path, user=user, body=data, kind="application/octet-stream", query={"inbody": "true", **query}
    )


def names(http_call, session, label="R"):
    return {row["Name"]: row for row in http_call("GET", f"/data/experiments/{session}/resources/{label}/files").rows}


def test_tables_are_text_and_items_need_format_json(http_call, session):
    (row,) = http_call(
        "GET", "/data/projects/DEMO/experiments", query={"format": "json", "columns": "ID,label,UID,nonsense"}
    ).rows
    assert row["label"] == "e"
    assert "nonsense" not in row
    document = http_call("GET", "/data/projects/DEMO/experiments").json
    assert document["ResultSet"]["totalRecords"] == "1"
    assert http_call("GET", f"/data/experiments/{session}").text.startswith("<html>")
    item = http_call("GET", f"/data/experiments/{session}", query={"format": "json"}).json["items"][0]
    assert item["data_fields"]["label"] == "e"


def test_labels_resolve_in_their_project_only(http_call, session):
    assert http_call("GET", "/data/experiments/e", query={"format": "json"}).status == 404
    assert http_call("GET", "/data/projects/DEMO/experiments/e", query={"format": "json"}).status == 200
    assert http_call("GET", "/data/projects/PRIVATE").status == 404


def test_unrouted_scan_urls_answer_with_the_session(http_call, session):
    answer = http_call("GET", "/data/projects/DEMO/experiments/e/scans", query={"format": "json"})
    assert answer.status == 200
    assert "items" in answer.json
    unrouted = "/data/projects/DEMO/experiments/{}/scans/1/resources/DICOM/files/x"
    kind = "application/octet-stream"
    assert http_call("PUT", unrouted.format("e"), body=b"x", kind=kind).status == 400
    assert put(http_call, unrouted.format("e")).status == 422, "read as XML"
    assert http_call("PUT", unrouted.format("nobody"), body=b"x", kind=kind).status == 417
    assert http_call("DELETE", unrouted.format("e")).status == 400
    assert len(http_call("GET", f"/data/experiments/{session}/scans").rows) == 2


def test_catalogs_carry_uids_and_files_carry_digests(http_call, session, exam):
    catalog = http_call("GET", f"/data/experiments/{session}/scans/1/resources/DICOM", query={"format": "json"}).text
    assert catalog.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<cat:DCMCatalog')
    assert sum(uid in catalog for uid in exam.instances) == 4
    rows = http_call("GET", f"/data/experiments/{session}/scans/ALL/files").rows
    assert len(rows) == 8
    assert all(len(row["digest"]) == 32 and row["Size"].isdecimal() for row in rows)


def test_a_put_without_rights_is_200_and_nothing(http_call, session):
    answer = put(http_call, f"/data/experiments/{session}/resources/R/files/a.txt", user="bob")
    assert (answer.status, answer.body) == (200, b"")
    assert http_call("GET", f"/data/experiments/{session}/resources").rows == []
    assert http_call("PUT", f"/data/experiments/{session}/resources/R", user="bob").status == 403


def test_an_existing_file_is_200_with_duplicates_as_html(http_call, session):
    path = f"/data/experiments/{session}/resources/R/files/a.txt"
    assert put(http_call, path, b"old").status == 200
    again = put(http_call, path, b"new")
    assert again.status == 200
    assert again.headers["Content-Type"].startswith("text/html")
    assert json.loads(again.body) == {"duplicates": ["a.txt"]}
    assert http_call("GET", path).body == b"old"
    put(http_call, path, b"new", overwrite="true")
    assert http_call("GET", path).body == b"new"


def test_empty_and_chunked_bodies_are_500(http_call, session):
    path = f"/data/experiments/{session}/resources/R/files/a.txt"
    assert put(http_call, path, b"").status == 500
    chunked = http_call(
        "PUT",
        path,
        query={"inbody": "true"},
        body=iter([b"x"]),
        kind="application/octet-stream",
        headers={"Transfer-Encoding": "chunked"},
        chunked=True,
    )
    assert chunked.status == 500


@pytest.mark.parametrize(
    ("sent", "kept"), [("a%5B1%5D.txt", "a%5B1%5D.txt"), ("f%20x.txt", "f x.txt"), ("a+b%20c.txt", "a b c.txt"), ("sub/folder/x", "sub/folder/x")]
)  # fmt: skip
def test_names_are_decoded_only_with_a_space_or_plus(http_call, session, sandbox, sent, kept):
    put(http_call, f"/data/experiments/{session}/resources/R/files/{sent}")
    (resource,) = sandbox.state.experiments[session].resources
    assert list(resource.entries) == [kept]


def test_extract_goes_by_the_name_into_the_root_and_unpacks_gz(http_call, session):
    import gzip

    base = f"/data/experiments/{session}/resources/R/files"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("in/ner.txt", "inner")
    put(http_call, f"{base}/folder/x.zip", packed.getvalue(), extract="true")
    put(http_call, f"{base}/x.ZIP", packed.getvalue(), extract="true")
    put(http_call, f"{base}/scan.nii.gz", gzip.compress(b"nifti"), extract="true")
    assert set(names(http_call, session)) == {"ner.txt", "x.ZIP", "scan.nii"}


def test_a_catalog_conflict_leaves_an_orphan_that_a_naive_retry_never_repairs(http_call, session, sandbox):
    sandbox.switches.catalog_conflict_every = 1
    path = f"/data/experiments/{session}/resources/R/files/a.txt"
    assert put(http_call, path).status == 500
    sandbox.switches.catalog_conflict_every = 0
    assert json.loads(put(http_call, path).body) == {"duplicates": ["a.txt"]}
    assert names(http_call, session) == {}
    http_call(
        "POST",
        "/data/services/refresh/catalog",
        query={"resource": f"/archive/experiments/{session}/resources/R", "options": "append,checksum"},
    )
    assert names(http_call, session)["a.txt"]["digest"]


def test_resources_are_created_once_and_digits_are_numbers(http_call, session):
    path = f"/data/experiments/{session}/resources"
    assert http_call("PUT", f"{path}/R").status == 200
    assert http_call("PUT", f"{path}/R").status == 409
    assert http_call("PUT", f"{path}/R/x").status == 400
    assert http_call("PUT", f"{path}/12345").status == 403


def test_the_firewall(http_call):
    for path in ("/data/projects/a%2Fb", "/data/projects/a;b", "/data/projects/a%25b"):
        assert http_call("GET", path).status == 500


@pytest.mark.parametrize("action", ["cut-before-body", "rst", "store-then-cut"])
def test_faults_cut_the_connection(http_call, sandbox, session, action):
    sandbox.faults.load([{"match": {"path": "/files/"}, "nth": 1, "action": action}])
    with pytest.raises((OSError, http.client.HTTPException)):
        put(http_call, f"/data/experiments/{session}/resources/R/files/a.txt")
    there = bool(http_call("GET", f"/data/experiments/{session}/resources").rows)
    assert there is (action == "store-then-cut")


def test_faults_answer_by_status(http_call, sandbox):
    sandbox.faults.load(
        [
            {
                "match": {"path": "/data/projects$"},
                "nth": [1, 2],
                "action": "status",
                "status": 503,
                "headers": {"Retry-After": "3"},
            }
        ]
    )
    answers = [http_call("GET", "/data/projects") for _ in range(3)]
    assert [answer.status for answer in answers] == [503, 503, 200]
    assert answers[0].headers["Retry-After"] == "3"
