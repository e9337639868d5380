"""Files of resources (xnat-api 2.5 and 4): what a 200 can mean, and what is on the disk then."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

OCTETS = "application/octet-stream"


@pytest.fixture
def session(import_, exam):
    import_(list(exam.instances.values()), dest="/archive")
    return "XNAT_E00001"


@pytest.fixture
def base(session):
    return f"/data/experiments/{session}/resources/R"


@pytest.fixture
def put(http_call):
    def send(path, data=b"data", *, user="alice", kind=OCTETS, method="PUT", **query):
        return http_call(method, path, user=user, body=data, kind=kind, query={"inbody": "true", **query})

    return send


@pytest.fixture
def held(http_call, base):
    """Path below /files/ -> row."""

    def rows(path=base, **query):
        answer = http_call("GET", f"{path}/files", query={"format": "json", **query})
        return {row["URI"].partition("/files/")[2]: row for row in answer.rows} if answer.status == 200 else {}

    return rows


@pytest.fixture
def on_disk(sandbox, session):
    """Path below the resource's folder -> content, from the server's disk."""

    def look(label="R"):
        folder = sandbox.state.experiments[session].directory / "RESOURCES" / label
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return look


def packed(kind, members, *, stored=False, folders=()):
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
            for folder in folders:
                archive.mkdir(folder)
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(
            fileobj=out, mode="w:gz" if kind in ("tgz", "tar.gz") else "w", format=tarfile.GNU_FORMAT
        ) as archive:
            for folder in folders:
                info = tarfile.TarInfo(folder)
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


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

# parents, 4.1 and 2.4


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


# bundles, 4.6


@pytest.mark.parametrize("suffix", ["zip", "zar", "tar", "xar", "tgz", "tar.gz"])
def test_bundles_go_into_the_root_with_their_folders(base, put, held, on_disk, suffix):
    kind = {"zar": "zip", "xar": "tar"}.get(suffix, suffix)
    members = {"a.txt": b"1", "in/ner/b.nii.gz": gzip.compress(b"n"), "in/empty": b"", "names/ü ä+%20[1].txt": b"2"}
    answer = put(f"{base}/files/ignored/folder/x.{suffix}", packed(kind, members, folders=["hollow"]), extract="true")
    assert (answer.status, answer.body) == (200, b"")
    assert on_disk() == members, "names verbatim, inner .gz as it is, empty files too, the bundle itself not kept"
    assert {name: row["Size"] for name, row in held().items()} == {
        name: str(len(data)) for name, data in members.items()
    }


def test_folders_become_empty_folders_without_an_entry(base, put, sandbox, session, held):
    put(f"{base}/files/x.tar", packed("tar", {"a": b"1"}, folders=["hollow/in"]), extract="true")
    assert (sandbox.state.experiments[session].directory / "RESOURCES" / "R" / "hollow" / "in").is_dir()
    assert set(held()) == {"a"}


@pytest.mark.parametrize("name", ["x.ZIP", "x.Tar", "x.bin", "x.tar.bz2"])
def test_any_other_name_is_stored_as_it_is(base, put, on_disk, name):
    data = packed("zip", {"a": b"1"})
    assert put(f"{base}/files/{name}", data, extract="true").status == 200
    assert on_disk() == {name: data}


def test_a_single_gz_is_decompressed_in_place(base, put, on_disk):
    put(f"{base}/files/sub/scan.nii.gz", gzip.compress(b"nifti"), extract="true")
    assert on_disk() == {"sub/scan.nii": b"nifti"}
    put(f"{base}/files/x.Tar.gz", packed("tgz", {"a": b"1"}), extract="true")
    assert set(on_disk()) == {"sub/scan.nii", "x.Tar"}, "only lower case makes it a bundle"
    put(f"{base}/files/kept.nii.gz", gzip.compress(b"nifti", mtime=0))
    assert gzip.decompress(on_disk()["kept.nii.gz"]) == b"nifti"


def test_without_extract_a_bundle_is_a_file(base, put, on_disk):
    put(f"{base}/files/x.zip", data := packed("zip", {"a": b"1"}))
    put(f"{base}/files/y.zip", data, extract="false")
    assert on_disk() == {"x.zip": data, "y.zip": data}


def streamed_stored_zip():
    """As a streaming writer makes it: stored, sizes behind the data."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, piece):
            self.data += bytes(piece)
            return len(piece)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.txt", b"1")
    return pipe.data


def test_a_failure_midway_leaves_files_and_no_catalog(base, put, held, on_disk, http_call, session):
    whole = packed("tgz", {f"{n}.txt": bytes([n]) * 50_000 for n in range(40)})
    answer = put(f"{base}/files/x.tgz", whole[:-30], extract="true")
    assert answer.status == 500
    assert held() == {}
    assert len(on_disk()) >= 30
    assert put(f"{base}/files/x.tgz", whole, extract="true").status == 200
    assert len(held()) < 40, "those on disk were duplicates, and stay out of the catalog"
    assert put(f"{base}/files/x.tgz", whole, extract="true", overwrite="true").status == 200
    assert len(held()) == 40


def test_bundles_that_cannot_be_read(base, put, on_disk):
    assert put(f"{base}/files/x.zip", streamed_stored_zip(), extract="true").status == 500
    bad_name = packed("zip", {"axx.txt": b"1"}).replace(b"axx.txt", b"a\xff\xfe.txt")
    assert put(f"{base}/files/x.zip", bad_name, extract="true").status == 400
    assert put(f"{base}/files/x.tar", packed("tgz", {"a": b"1"}), extract="true").status == 500
    assert put(f"{base}/files/x.zip", packed("zip", {"../../up.txt": b"1"}), extract="true").status == 400
    assert put(f"{base}/files/x.gz", b"no gzip", extract="true").status == 500
    assert on_disk() == {}
    assert put(f"{base}/files/x.zip", b"no zip at all", extract="true").status == 200, "it has no entries"
    assert on_disk() == {}


# concurrency, 4.7


def test_a_catalog_changed_meanwhile_is_500_with_an_orphan(base, put, held, on_disk, sandbox, until):
    put(f"{base}/files/first.txt")
    sandbox.switches.catalog_seconds = 60
    answers = []
    slow = threading.Thread(target=lambda: answers.append(put(f"{base}/files/slow.txt")))
    slow.start()
    assert until(lambda: "slow.txt" in on_disk())
    quick = threading.Thread(target=lambda: answers.append(put(f"{base}/files/quick.txt")))
    quick.start()
    assert until(lambda: "quick.txt" in on_disk())
    sandbox.switches.catalog_seconds = 0
    slow.join()
    quick.join()
    assert sorted(answer.status for answer in answers) == [200, 500]
    assert "Another thread or process modified" in next(a.text for a in answers if a.status == 500)
    assert set(on_disk()) == {"first.txt", "slow.txt", "quick.txt"}
    assert len(held()) == 2


def test_first_puts_in_parallel_make_two_resources_of_one_label(base, put, session, http_call, on_disk, sandbox, until):
    sandbox.switches.catalog_seconds = 60
    threads = [threading.Thread(target=put, args=(f"{base}/files/{name}",)) for name in "ab"]
    for thread in threads:
        thread.start()
    assert until(lambda: set(on_disk()) == {"a", "b"})
    sandbox.switches.catalog_seconds = 0
    for thread in threads:
        thread.join()
    rows = http_call("GET", f"/data/experiments/{session}/resources").rows
    assert [row["label"] for row in rows] == ["R", "R"]
    assert len({row["xnat_abstractresource_id"] for row in rows}) == 2


def test_every_nth_request_by_switch_and_any_request_by_script(base, put, held, sandbox):
    sandbox.switches.catalog_conflict_every = 3
    assert [put(f"{base}/files/{n}").status for n in range(6)] == [200, 200, 500, 200, 200, 500]
    sandbox.switches.catalog_conflict_every = 0
    sandbox.faults.load([{"match": {"path": "/files/7$"}, "nth": 1, "action": "catalog-conflict"}])
    assert [put(f"{base}/files/{n}").status for n in (7, 8)] == [500, 200]
    assert set(held()) == {"0", "1", "3", "4", "8"}


def test_a_naive_retry_never_repairs_an_orphan(base, put, held, sandbox, http_call, session):
    sandbox.faults.load([{"match": {"path": "/files/"}, "times": 1, "action": "catalog-conflict"}])
    assert put(f"{base}/files/a").status == 500
    assert json.loads(put(f"{base}/files/a").body) == {"duplicates": ["a"]}
    assert held() == {}
    assert put(f"{base}/files/a", overwrite="true").status == 200
    assert set(held()) == {"a"}


def test_200_and_stored_in_part(base, put, held, on_disk, sandbox):
    """Nothing tells it but size and digest (4.4.3)."""
    sandbox.faults.load(
        [
            {"match": {"path": "one.zip"}, "action": "lose-file", "members": "^b"},
            {"match": {"path": "two.zip"}, "action": "truncate-file", "members": "d$", "bytes": 2},
        ]
    )
    for name, members in (("one", {"a": b"1", "b": b"2"}), ("two", {"c": b"3333", "d": b"4444"})):
        answer = put(f"{base}/files/{name}.zip", packed("zip", members), extract="true")
        assert (answer.status, answer.body) == (200, b"")
    assert on_disk() == {"a": b"1", "c": b"3333", "d": b"44"}
    assert held()["d"]["Size"] == "2"


# catalogs and numbers, 2.2, 4.8


@pytest.fixture
def refresh(http_call, session):
    def call(uri=f"/archive/experiments/{session}/resources/R", user="alice", **query):
        return http_call("POST", "/data/services/refresh/catalog", user=user, query={"resource": uri, **query})

    return call


def test_refresh(base, put, held, on_disk, refresh, sandbox, session, http_call):
    folder = sandbox.state.experiments[session].directory / "RESOURCES" / "R"
    put(f"{base}/files/a.txt", b"1")
    put(f"{base}/files/gone.txt", b"2")
    (folder / "gone.txt").unlink()
    (folder / "found.txt").write_bytes(b"333")
    assert refresh(options="append").status == 200
    assert set(held()) == {"a.txt", "gone.txt", "found.txt"}
    assert held()["found.txt"]["digest"] == ""
    assert refresh(delete="true", checksum="true").status == 200
    assert set(held()) == {"a.txt", "found.txt"}
    assert held()["found.txt"]["digest"] == "310dcbbf4cce62f762a2aaa148d556bd"
    numbers = lambda: [r["file_count"] for r in http_call("GET", f"/data/experiments/{session}/resources").rows]  # noqa: E731
    before = numbers()
    refresh(options="append,populateStats")
    assert numbers() == ["2"] == before


def test_refresh_by_other_uris_and_what_it_refuses(base, put, held, refresh, sandbox, session):
    put(f"{base}/files/a.txt")
    folder = sandbox.state.experiments[session].directory / "RESOURCES" / "R"
    for number, uri in enumerate(
        ("/archive/projects/DEMO/subjects/s/experiments/e", "/data/archive/projects/DEMO/experiments/e/resources/R")
    ):
        (folder / f"{number}.txt").write_bytes(b"x")
        assert refresh(uri, options="append").status == 200
        assert f"{number}.txt" in held()
    assert refresh(user="bob", options="append").status == 403
    assert refresh("/archive/experiments/NOWHERE").status == 404
    assert refresh("/archive/experiments/XNAT_E00001/resources/NOWHERE").status == 404
    assert refresh("/nonsense").status == 400
    assert refresh("").status == 400


def test_numbers_in_resource_tables_may_be_old_or_empty(base, put, http_call, session, sandbox, refresh):
    def numbers(**query):
        (row,) = http_call("GET", f"/data/experiments/{session}/resources", query={"format": "json", **query}).rows
        return row["file_count"], row["file_size"]

    put(f"{base}/files/a", b"12", **{"update-stats": "false"})
    assert numbers() == ("", "")
    assert numbers(cache_file_stats="true") == ("1", "2")
    put(f"{base}/files/b", b"34", **{"update-stats": "false"})
    assert numbers() == ("1", "2") == numbers(cache_file_stats="true")
    refresh(options="populateStats")
    assert numbers() == ("2", "4")
    sandbox.switches.stale_stats = True
    put(f"{base}/files/c", b"56")
    assert numbers() == ("2", "4")


def test_checksums_can_be_off(base, put, held, sandbox, http_call):
    put(f"{base}/files/a", b"x")
    sandbox.state.site["checksums"] = False
    put(f"{base}/files/b", b"x")
    assert held()["a"]["digest"] == "9dd4e461268c8034f5c8564e155c67a6"
    assert held()["b"]["digest"] == ""
    assert http_call("GET", "/xapi/siteConfig/checksums", user="bob").text == "false"


# listing and reading back, 2.5, 4.9


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
