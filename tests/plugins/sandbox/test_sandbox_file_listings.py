"""Listing files of resources, reading them back and deleting them (xnat-api 2.5 and 4.9)."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest
from packed import packed

OCTETS = "application/octet-stream"


def test_the_shape_of_a_listing(base, put, http_call):
    put(f"{base}/files/a", b"x")
    found = http_call("GET", f"{base}/files").json["ResultSet"]
    assert found["Columns"] == [{"key": "URI", "serverRoot": ""}]
    assert found["title"] == "Files"
    assert "totalRecords" not in found
    assert list(found["Result"][0]) == [
        "Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest",
    ]  # fmt: skip
    assert all(isinstance(value, str) for value in found["Result"][0].values())


def test_listing_options(base, put, held, http_call, sandbox):
    put(f"{base}/files/a.txt", b"1", format="TXT", content="notes")
    put(f"{base}/files/sub/b.nii", b"22", format="NIFTI")
    put(f"{base}/files/sub/deep/c", b"333")
    assert set(held(file_format="TXT")) == {"a.txt"}
    assert set(held(file_content="notes,other")) == {"a.txt"}
    assert set(held(recursive="false")) == {"a.txt"}
    listed = lambda path: {r["URI"].partition("/files/")[2] for r in http_call("GET", f"{base}/files/{path}").rows}  # noqa: E731
    assert listed("sub/") == {"sub/b.nii", "sub/deep/c"}
    assert listed("sub/b*") == {"sub/b.nii"}
    rows = http_call("GET", f"{base}/files", query={"locator": "absolutePath"}).rows
    assert Path(rows[0]["absolutePath"]).read_bytes() == b"1"
    assert "URI" not in rows[0]
    rows = http_call("GET", f"{base}/files", query={"locator": "projectPath"}).rows
    assert rows[0]["projectPath"] == "arc001/e/RESOURCES/R/a.txt"
    assert http_call("GET", f"{base}/files", query={"index": "1"}).body == b"22"
    assert len(http_call("GET", f"{base}/files", query={"limit": "1"}).rows) == 3, "files are never paged (2.1)"


def test_reading_back(base, put, http_call):
    put(f"{base}/files/a.txt", b"text")
    put(f"{base}/files/a.unknown", b"?")
    put(f"{base}/files/x.zip", packed("zip", {"in/ner.txt": b"inner"}))
    answer = http_call("GET", f"{base}/files/a.txt")
    assert (answer.body, answer.headers["Content-Type"].partition(";")[0], answer.headers["Content-Length"]) == (
        b"text",
        "text/plain",
        "4",
    )
    assert http_call("GET", f"{base}/files/a.unknown").headers["Content-Type"] == OCTETS
    assert http_call("HEAD", f"{base}/files/a.txt").headers["Content-Length"] == "4"
    assert http_call("GET", f"{base}/files/x.zip!/in/ner.txt").body == b"inner"
    missing = http_call("GET", f"{base}/files/none")
    assert (missing.status, "Unable to find catalog entry for given uri." in missing.text) == (404, True)
    assert http_call("GET", f"{base}/files/none", query={"accept-not-found": "true"}).status == 204


def test_deleting(base, put, http_call, held, on_disk, session):
    put(f"{base}/files/a.txt")
    put(f"{base}/files/b.txt")
    assert http_call("DELETE", f"{base}/files/a.txt", user="bob").status == 403
    assert http_call("DELETE", f"{base}/files/none").status == 404
    assert http_call("DELETE", f"{base}/files/a.txt").status == 200
    assert set(held()) == {"b.txt"} == set(on_disk())
    assert http_call("DELETE", base, user="bob").status == 403
    assert http_call("DELETE", base).status == 200
    assert http_call("GET", base).status == 404
    assert http_call("DELETE", base).status == 404


def test_an_answer_lost_after_the_work(base, put, held, sandbox):
    sandbox.faults.load(
        [
            {"match": {"path": "/a$"}, "action": "store-then-status", "status": 504},
            {"match": {"path": "/b$"}, "action": "cut-at-byte", "bytes": 1000},
            {"match": {"path": "/c$"}, "action": "status", "status": 413},
        ]
    )
    answer = put(f"{base}/files/a")
    assert (answer.status, "nginx" in answer.text) == (504, True)
    with pytest.raises((OSError, http.client.HTTPException)):
        put(f"{base}/files/b", bytes(200_000))
    assert put(f"{base}/files/c").status == 413
    assert set(held()) == {"a"}


def test_a_sandbox_remembers_its_resources(base, put, sandbox, session):
    from xnatctl_sandbox.world.persistence import load, save
    from xnatctl_sandbox.world.state import State

    put(f"{base}/files/a", b"12", tags="t")
    save(sandbox.state)
    again = State(sandbox.directory)
    load(again)
    assert again.experiments[session].resources == sandbox.state.experiments[session].resources
