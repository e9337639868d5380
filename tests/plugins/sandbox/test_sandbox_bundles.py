"""Archive files that the server unpacks into a resource (xnat-api 4.6)."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest
from packed import packed


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
