"""Files of resources (xnat-api 4.3 to 4.5): what a 200 can mean, and what is on the disk then."""

from __future__ import annotations

import json

import pytest
from packed import packed

OCTETS = "application/octet-stream"


def form(*files, **fields):
    """A multipart body: (filename, data) each."""
    lines = []
    for name, value in fields.items():
        lines += [b"--limit", f'Content-Disposition: form-data; name="{name}"'.encode(), b"", value.encode()]
    for number, (name, data) in enumerate(files):
        head = f'Content-Disposition: form-data; name="file{number}"; filename="{name}"'
        lines += [b"--limit", head.encode(), b"Content-Type: application/octet-stream", b"", data]
    return b"\r\n".join([*lines, b"--limit--", b""])


FORM = "multipart/form-data; boundary=limit"


# one file, 4.3


def test_put_and_post_are_the_same(base, put, held):
    assert put(f"{base}/files/a.txt", b"1").status == 200
    assert put(f"{base}/files/b.txt", b"2", method="POST").status == 200
    assert set(held()) == {"a.txt", "b.txt"}


def test_a_known_type_needs_no_inbody_and_an_unknown_one_is_400(base, http_call, held):
    for number, kind in enumerate(
        ("application/octet-stream", "text/plain", "image/png", "application/dicom", "application/pdf")
    ):
        assert http_call("PUT", f"{base}/files/{number}", body=b"x", kind=kind).status == 200
    answer = http_call("PUT", f"{base}/files/bad", body=b"x", kind="chemical/x-pdb")
    assert (answer.status, "You tried to PUT a payload of" in answer.text) == (400, True)
    assert len(held()) == 5


def test_a_raw_body_needs_a_length_unless_it_is_exactly_a_zip(base, http_call, put, held):
    def chunked(kind):
        return http_call(
            "PUT", f"{base}/files/a", query={"inbody": "true"}, body=iter([b"x"]), kind=kind,
            headers={"Transfer-Encoding": "chunked"}, chunked=True,
        )  # fmt: skip

    for answer in (chunked(OCTETS), chunked("application/x-tar"), put(f"{base}/files/a", b"")):
        assert (answer.status, "must include the file directly" in answer.text) == (500, True)
    assert held() == {}
    assert chunked("application/zip").status == 200
    assert held()["a"]["Size"] == "1"
    assert put(f"{base}/files/empty", b"", kind="application/zip").status == 200
    assert held()["empty"]["Size"] == "0"


def test_without_a_name_the_type_gives_one(base, put, held):
    put(f"{base}/files", b"x", kind="text/plain")
    put(f"{base}/files", packed("zip", {"in.txt": b"1"}), kind="application/zip", extract="true")
    assert set(held()) == {"upload.txt", "in.txt"}


def test_multipart(base, http_call, held):
    """Names are the URL's path, else the part's base name; form fields are parameters; empty files pass (4.3)."""

    def send(path, *files, **fields):
        return http_call("PUT", f"{base}/files{path}", body=form(*files, **fields), kind=FORM)

    assert send("", ("dir/a.txt", b"1"), ("sub/b.txt", b"2"), content="notes").status == 200
    assert send("/in/url.txt", ("other.txt", b"3")).status == 200
    assert send("", ("empty.txt", b"")).status == 200
    assert send("", ("x.zip", packed("zip", {"z/in.txt": b"4"})), extract="true").status == 200
    assert send("/kept.zip", ("x.bin", packed("zip", {"never": b"4"})), extract="true").status == 200, (
        "the part's name decides"
    )
    assert set(held()) == {"a.txt", "b.txt", "in/url.txt", "empty.txt", "z/in.txt", "kept.zip"}
    assert held()["empty.txt"]["Size"] == "0"
    assert held()["a.txt"]["file_content"] == "notes"
    assert send("", content="no file at all").status == 400
    both = http_call("PUT", f"{base}/files/x", body=form(("x", b"1")), kind=FORM, query={"inbody": "true"})
    assert both.status == 400


def test_a_post_that_calls_itself_a_form_loses_its_body(base, http_call, held):
    """The body was read before Restlet sees it (0.10)."""
    answer = http_call(
        "POST",
        f"{base}/files/a.bin",
        body=b"precious",
        kind="application/x-www-form-urlencoded",
        query={"inbody": "true"},
    )
    assert answer.status == 200
    assert held()["a.bin"]["Size"] == "0"


def test_format_content_and_tags_go_to_the_resource_too_and_tags_pile_up(base, session, http_call, put, held):
    for name in "ab":
        put(f"{base}/files/{name}", format="NIFTI", content="mask", tags="x,y")
    row = held()["a"]
    assert (row["file_format"], row["file_content"], row["file_tags"]) == ("NIFTI", "mask", "x,y")
    (resource,) = http_call("GET", f"/data/experiments/{session}/resources").rows
    assert (resource["format"], resource["content"], resource["tags"]) == ("NIFTI", "mask", "x,y,x,y")


# silent non-errors, 4.4


def test_without_the_right_to_edit_every_put_is_200_and_nothing(base, session, http_call, put, on_disk):
    for answer in (
        put(f"{base}/files/a.txt", user="bob"),
        put(f"{base}/files/x.zip", packed("zip", {"a": b"1"}), user="bob", extract="true"),
        put(f"{base}/files/a.txt", b"", user="bob"),
        http_call("PUT", f"{base}/files/a", user="bob", body=b"x", kind="chemical/x-pdb"),
    ):
        assert (answer.status, answer.body) == (200, b"")
    assert http_call("GET", f"/data/experiments/{session}/resources").rows == []
    assert http_call("PUT", base, user="bob").status == 403
    assert put(f"{base}/files/a.txt", user="bob").status == 200
    assert on_disk() == {}


def test_what_the_caller_cannot_read_is_404(sandbox, put):
    assert put("/data/projects/PRIVATE/resources/R/files/a", user="bob").status == 404


def test_an_existing_file_is_200_with_duplicates_and_the_old_content(base, put, on_disk):
    put(f"{base}/files/a.txt", b"old")
    again = put(f"{base}/files/a.txt", b"new")
    assert (again.status, again.headers["Content-Type"].partition(";")[0]) == (200, "text/html")
    assert json.loads(again.body) == {"duplicates": ["a.txt"]}
    assert on_disk() == {"a.txt": b"old"}
    assert put(f"{base}/files/a.txt", b"new", overwrite="true").body == b""
    assert on_disk() == {"a.txt": b"new"}
    put(f"{base}/files/a.txt", b"newest", overwrite="false")
    assert on_disk() == {"a.txt": b"new"}


def test_a_bundle_stores_what_is_new_and_names_what_is_there(base, put, on_disk, held):
    put(f"{base}/files/sub/b.txt", b"old")
    answer = put(f"{base}/files/x.zip", packed("zip", {"a.txt": b"1", "sub/b.txt": b"2"}), extract="true")
    assert json.loads(answer.body) == {"duplicates": ["sub/b.txt"]}
    assert on_disk() == {"a.txt": b"1", "sub/b.txt": b"old"}
    assert put(f"{base}/files/x.zip", packed("zip", {"a.txt": b"3"}), extract="true", overwrite="true").body == b""
    assert held()["a.txt"]["digest"] == "eccbc87e4b5ce2fe28308fd9f2a7baf3", "MD5 of the new content"


# names, 4.5


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a%5B1%5D.txt", "a%5B1%5D.txt"), ("f%C3%A9.txt", "f%C3%A9.txt"), ("f%C3%A9%20x.txt", "fé x.txt"),
        ("a+b.txt", "a+b.txt"), ("a+b%20c.txt", "a b c.txt"), ("a%2Bb.txt", "a+b.txt"), ("sub/folder/x", "sub/folder/x"),
    ],
)  # fmt: skip
def test_a_name_is_decoded_only_when_it_holds_a_space_or_a_plus(base, put, on_disk, http_call, sent, kept):
    put(f"{base}/files/{sent}", b"here")
    assert on_disk() == {kept: b"here"}
    assert http_call("GET", f"{base}/files/{sent}").body == b"here", "looked up raw, then decoded"


@pytest.mark.parametrize("name", ["x_catalog.xml", ".~lock-y"])
def test_some_names_are_stored_and_never_catalogued(base, put, held, on_disk, name):
    assert put(f"{base}/files/{name}").status == 200
    assert held() == {}
    assert set(on_disk()) == {name}


def test_labels(session, http_call, put):
    path = f"/data/experiments/{session}/resources"
    assert http_call("PUT", f"{path}/R%26D").status == 200
    assert "R&amp;D" in {row["label"] for row in http_call("GET", path).rows}
    assert http_call("PUT", f"{path}/it's").status == 400
    assert put(f"{path}/2024/files/a.txt").status == 403, "digits are a primary key (2.4)"
    (row,) = http_call("GET", path).rows
    assert put(f"{path}/{row['xnat_abstractresource_id']}/files/a.txt").status == 200
