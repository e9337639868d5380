"""What an upload and `session verify` prove of each instance, against what the server's disk holds (4.1a)."""

from __future__ import annotations

import hashlib
import shutil
import struct
from dataclasses import replace

import pytest
from kept import kept

from xnatctl.testing import write_exam

pytestmark = pytest.mark.once
NAMES = ("-P", "DEMO", "-S", "s", "-E", "e", "-o", "json")
RLE = "1.2.840.10008.1.2.5"


@pytest.fixture
def exam(tmp_path):
    """Two series of five instances whose heads the server changes: by 12 bytes in the first, by 28 in the second."""
    exam = write_exam(tmp_path / "exam", series=2, instances=5, seed=3, clutter=False)
    first = min(one.series_instance_uid for one in exam.instances.values())
    for one in exam.instances.values():
        data = with_group_length(one.path.read_bytes())
        one.path.write_bytes(data if one.series_instance_uid == first else with_sequence(data))
    return exam


def with_group_length(data):
    """With an element that XNAT drops (12 bytes)."""
    at = 144 + struct.unpack("<I", data[140:144])[0]
    return data[:at] + struct.pack("<HH2sHI", 8, 0, b"UL", 4, 0) + data[at:]


def with_sequence(data, items=1):
    """With a sequence of defined length, which XNAT writes with delimiters (8 bytes, and 8 for each item)."""
    at = data.index(struct.pack("<HH2s", 0x10, 0x10, b"PN"))
    uid = struct.pack("<HH2sH", 8, 0x1155, b"UI", 8) + b"1.2.3.4\0"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(uid)) + uid
    return data[:at] + struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, items * len(item)) + items * item + data[at:]


@pytest.fixture
def upload(xnatctl, alice, exam):
    def run(*more, env=alice, verb="upload", directory=None):
        return xnatctl("session", verb, directory or exam.directory, *NAMES, *more, env=env)

    return run


def stored(sandbox):
    """The catalog entries of the archive by SOP Instance UID, each with its path."""
    return {
        entry.uid: (entry, resource.directory / entry.path)
        for experiment in sandbox.state.experiments.values()
        for scan in experiment.scans.values()
        for resource in scan.resources
        for entry in resource.entries.values()
    }


def replace_stored(sandbox, uid, change):
    """Somebody else's tool writes other bytes under the same UID; the catalog knows size and MD5 of them."""
    entry, path = stored(sandbox)[uid]
    data = change(path.read_bytes())
    path.write_bytes(data)
    entry.size, entry.md5 = len(data), hashlib.md5(data, usedforsecurity=False).hexdigest()


def assert_holds(sandbox, exam):
    """The archive holds the data set and the tail of every file on disk, once."""
    found = {uid: kept(path) for uid, (_, path) in stored(sandbox).items()}
    assert found == {one.sop_instance_uid: kept(one.path) for one in exam.instances.values() if one.path.exists()}


def others_of(exam, directory, *, series=2):
    """One more instance in each series of the exam, and whole series beyond; nothing that the exam has."""
    other = write_exam(directory, series=series, instances=6, seed=3, clutter=False)
    for uid in [uid for uid in other.instances if uid in exam.instances]:
        other.instances.pop(uid).path.unlink()
    return other


def arrivals(sandbox):
    return sum(call["path"].endswith("/services/import") for call in sandbox.requests)


def test_heads_that_the_server_writes_anew_are_proven_by_size(sandbox, upload, exam):
    done = upload()
    assert done.code == 0, done.err
    report = done.document
    sizes = {uid: entry.size for uid, (entry, _) in stored(sandbox).items()}
    assert {sizes[one.sop_instance_uid] - one.path.stat().st_size for one in exam.instances.values()} == {-12, 4}
    assert report["verification"]["levels"] == {"size": 10}
    assert [item["level"] for item in report["items"]] == ["size"] * 10
    assert [item["attempts"] for item in report["items"]] == [1] * 10
    assert report["verification"]["limits"] == [
        "Content that changed without changing its length cannot be seen by size."
    ]
    assert_holds(sandbox, exam)


@pytest.mark.parametrize("cut", [2, 700, 1500])
def test_a_file_that_was_cut_on_the_server_is_named_and_sent_again(sandbox, upload, exam, elsewhere, cut):
    assert upload().code == 0
    uid = sorted(exam.instances)[3]
    replace_stored(sandbox, uid, lambda data: data[:-cut])
    wrong = upload(verb="verify", env=elsewhere)
    assert wrong.code == 6
    (difference,) = wrong.document["verification"]["differences"]
    assert (difference["kind"], difference["sop_instance_uid"]) == ("size", uid)
    assert wrong.document["counts"]["verified"] == 9
    again = upload()
    assert again.code == 0, again.err
    assert {item["sop_instance_uid"]: item["attempts"] for item in again.document["items"] if item["attempts"]} == {
        uid: 1
    }
    assert_holds(sandbox, exam)
    assert upload().document["counts"]["skipped"] == 10


def test_a_whole_series_that_lost_its_pixels_is_sent_again(sandbox, upload, exam):
    assert upload().code == 0
    for uid in exam.instances:
        replace_stored(sandbox, uid, lambda data: data[:-2000])
    again = upload()
    assert again.code == 0, again.err
    assert_holds(sandbox, exam)


def test_content_of_the_same_length_needs_a_checksum(sandbox, upload, exam):
    sandbox.switches.rewrites_heads = False
    assert upload().code == 0
    uid = sorted(exam.instances)[3]
    replace_stored(sandbox, uid, lambda data: data[:-100] + bytes(100))
    blind = upload(verb="verify")
    assert blind.code == 0
    assert "cannot be seen by size" in " ".join(blind.document["verification"]["limits"])
    seen = upload("--verify", "checksum", verb="verify")
    assert seen.code == 6
    assert [(d["kind"], d["sop_instance_uid"]) for d in seen.document["verification"]["differences"]] == [
        ("checksum", uid)
    ]
    assert seen.document["verification"]["levels"] == {"none": 1, "checksum": 9}
    again = upload("--verify", "checksum")
    assert again.code == 0, again.err
    assert again.document["verification"]["levels"] == {"checksum": 10}
    assert_holds(sandbox, exam)


def test_a_checksum_decides_nothing_where_the_server_changed_the_bytes(sandbox, upload):
    done = upload("--verify", "checksum")
    assert done.code == 0, done.err
    verification = done.document["verification"]
    assert verification["levels"] == {"size": 10}
    limits = " ".join(verification["limits"])
    assert "MD5 could be compared for 0 of 10 instances" in limits
    assert "2 stored files were read and compared behind the header" in limits


@pytest.mark.parametrize("rewrites", [True, False], ids=["heads written anew", "bytes kept"])
def test_content_that_changed_in_every_file_is_found_by_reading_one_of_each_series(sandbox, upload, exam, rewrites):
    """A different MD5 of all files looks like new headers; only the content tells the two apart."""
    sandbox.switches.rewrites_heads = rewrites
    assert upload().code == 0
    first = min(one.series_instance_uid for one in exam.instances.values())
    altered = {uid for uid, one in exam.instances.items() if one.series_instance_uid == first}
    for uid in altered:
        replace_stored(sandbox, uid, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    assert upload(verb="verify").code == 0, "sizes cannot tell"
    for verb in ("verify", "upload"):
        seen = upload("--verify", "checksum", verb=verb)
        assert seen.code == 6
        differences = seen.document["verification"]["differences"]
        assert {(d["kind"], d["sop_instance_uid"]) for d in differences} == {("checksum", uid) for uid in altered}
        assert sum("was read from the server" in d["message"] for d in differences) == 1
    # The run before left them to be sent again.
    again = upload("--verify", "checksum")
    assert again.code == 0, again.err
    assert_holds(sandbox, exam)


def test_what_the_server_makes_so_is_sent_again_once_and_accepted(sandbox, upload, exam):
    """A script removes a value that one instance alone has."""
    odd = sorted(exam.instances)[2]
    path = exam.instances[odd].path
    data = path.read_bytes()
    at = data.index(struct.pack("<HH2s", 0x18, 0x20, b"CS"))
    comment = struct.pack("<HH2sHI", 0x10, 0x4000, b"LT", 60, 0)[:8] + b"x" * 60
    path.write_bytes(data[:at] + comment + data[at:])
    sandbox.switches.project_scripts["DEMO"] = {"PatientComments": None}
    first = upload()
    assert first.code == 0, first.err
    report = first.document
    assert {item["sop_instance_uid"]: item["attempts"] for item in report["items"] if item["attempts"] > 1} == {odd: 2}
    assert report["verification"]["levels"] == {"uid": 1, "size": 9}
    (note,) = [item["note"] for item in report["items"] if item["note"]]
    assert "sending it again does not change that" in note
    before = arrivals(sandbox)
    second = upload()
    assert second.code == 0, second.err
    assert second.document["verification"]["levels"] == {"uid": 1, "size": 9}
    assert arrivals(sandbox) == before, "once, not once in each run"


def test_decompressed_instances_are_proven_by_uid(sandbox, upload, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    exam = write_exam(tmp_path / "rle", series=1, instances=3, seed=4, clutter=False)
    for number, one in enumerate(exam.instances.values()):
        ds = pydicom.dcmread(one.path)
        ds.PixelData = bytes(400 * number) + ds.PixelData[400 * number :]
        ds.PixelRepresentation = 0
        ds.SamplesPerPixel = 1
        ds.compress(RLE, encoding_plugin="pydicom")
        ds.save_as(one.path)
    sandbox.switches.decompresses = True
    done = upload(directory=exam.directory)
    assert done.code == 0, done.err
    assert done.document["verification"]["levels"] == {"uid": 3}
    assert "decompression" in " ".join(done.document["verification"]["limits"])
    assert [item["attempts"] for item in done.document["items"]] == [1] * 3


def test_what_others_added_is_reported_and_no_failure(sandbox, upload, exam, elsewhere, tmp_path):
    assert upload().code == 0
    added = others_of(exam, tmp_path / "more", series=3)
    assert upload("--overwrite", "append", directory=added.directory, env=elsewhere).code == 0
    gone = min(exam.instances)
    exam.instances[gone].path.unlink()
    for more_options, code in (((), 0), (("--exact",), 6), ((), 0)):
        done = upload(*more_options)
        assert done.code == code, done.err
        extra = done.document["verification"]["extra"]
        named = {entry["sop_instance_uid"] for entry in extra}
        assert named == {gone, *(uid for uid, one in added.instances.items() if one.path.parent.name != "series 3"), ""}
        assert done.document["counts"]["verified"] == 9
    checked = upload("--exact", verb="verify")
    assert checked.code == 6
    assert {d["kind"] for d in checked.document["verification"]["differences"]} == {"extra"}
    assert upload(verb="verify").code == 0


@pytest.mark.parametrize("version", ["1.8.3", "1.8.11"])
def test_what_a_place_held_that_is_gone_is_sent_again(sandbox, upload, exam, elsewhere, tmp_path, version):
    """It was accepted and not committed; the archive holds the same UIDs and sizes, which somebody else sent."""
    sandbox.state.version = version
    damaged = exam.directory / "damaged"
    damaged.write_bytes(next(iter(exam.instances.values())).path.read_bytes()[:-50])
    assert upload().code == 5
    damaged.unlink()
    sandbox.state.prearchive.clear()
    sandbox.state.direct.clear()
    shutil.rmtree(sandbox.state.directory / "prearchive", ignore_errors=True)
    shutil.rmtree(sandbox.state.directory / "archive", ignore_errors=True)
    altered = tmp_path / "altered"
    shutil.copytree(exam.directory, altered)
    for path in altered.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    assert upload(directory=altered, env=elsewhere).code == 0
    again = upload()
    assert again.code == 0, again.err
    assert again.document["counts"]["sent"] == 10
    assert_holds(sandbox, exam)
    assert upload().document["counts"]["skipped"] == 10


def test_what_a_person_archived_after_a_review_is_compared(sandbox, upload, exam, xnatctl, alice):
    assert upload("--prearchive").code == 0
    (row,) = sandbox.state.prearchive
    assert xnatctl("prearchive", "archive", "DEMO", row.timestamp, row.folder, env=alice).code == 0
    again = upload("--prearchive")
    assert again.code == 0, again.err
    assert again.document["counts"]["skipped"] == 10
    assert again.document["verification"]["levels"] == {"size": 10}


def test_an_instance_without_neighbours_is_sent_again_once_after_a_review(sandbox, upload, exam, xnatctl, alice):
    """The server writes its head anew, and nothing shows that it does so with others."""
    for one in sorted(exam.instances.values(), key=lambda one: one.series_instance_uid)[1:]:
        one.path.unlink()
    for _ in range(2):
        assert upload("--prearchive").code == 0
        (row,) = sandbox.state.prearchive
        words = ("DEMO", row.timestamp, row.folder, "--overwrite", "delete")
        assert xnatctl("prearchive", "archive", *words, env=alice).code == 0
    done = upload("--prearchive")
    assert done.code == 0, done.err
    assert arrivals(sandbox) == 2
    assert not sandbox.state.prearchive
    assert done.document["verification"]["levels"] == {"uid": 1}
    assert_holds(sandbox, exam)


def test_every_interruption_converges_although_others_add_to_the_session(sandbox, upload, exam, elsewhere, tmp_path):
    """Sent in part, while somebody else adds to the session and a file that was sent is deleted here."""
    uid = min(exam.instances)
    sandbox.switches.lost_instances = {uid}
    assert upload().code == 6
    sandbox.switches.lost_instances = set()
    added = others_of(exam, tmp_path / "more", series=3)
    assert upload("--overwrite", "append", directory=added.directory, env=elsewhere).code == 0
    exam.instances[max(exam.instances)].path.unlink()
    again = upload()
    assert again.code == 0, again.err
    assert again.document["verification"]["levels"] == {"size": 9}
    assert upload().code == 0


def test_listings_that_contradict_each_other_prove_nothing(sandbox, upload, monkeypatch):
    from xnatctl_sandbox.http import files

    whole = files.Files._listing

    def short(self, call, chosen):
        resource = chosen[0][1]
        name = min(resource.entries)
        entry = resource.entries.pop(name)
        try:
            return whole(self, call, chosen)
        finally:
            resource.entries[name] = entry

    monkeypatch.setattr(files.Files, "_listing", short)
    done = upload()
    assert done.code == 6, done.err
    verification = done.document["verification"]
    assert {d["kind"] for d in verification["differences"]} == {"contradiction"}
    assert (verification["level"], verification["levels"], verification["ok"]) == ("none", {"none": 10}, False)
    assert done.document["counts"]["verified"] == 0
    assert "contradict each other" in done.document["error"]["message"]
    monkeypatch.undo()
    assert upload().code == 0


def test_a_catalog_without_uids_counts_only_what_can_be_nothing_else(sandbox, upload, monkeypatch, exam, elsewhere):
    from xnatctl_sandbox.http import catalogs

    whole = catalogs.catalog_document

    def nameless(resource):
        return whole(resource).replace(" UID=", " NOUID=")

    monkeypatch.setattr("xnatctl_sandbox.http.resources.catalog_document", nameless)
    done = upload()
    assert done.code == 0, done.err
    assert done.document["verification"]["levels"] == {"counted": 10}
    uid = min(exam.instances)
    sandbox.switches.lost_instances = {uid}
    (resource,) = [r for e in sandbox.state.experiments.values() for s in e.scans.values() for r in s.resources
                   if uid in {entry.uid for entry in r.entries.values()}]  # fmt: skip
    name = next(name for name, entry in resource.entries.items() if entry.uid == uid)
    resource.entries["other.dcm"] = resource.entries.pop(name)
    resource.entries["other.dcm"].uid = "1.2.3"
    (resource.directory / name).rename(resource.directory / "other.dcm")
    resource.entries["other.dcm"].path = "other.dcm"
    blind = upload(env=elsewhere)
    assert blind.code == 6, "the session was there before, and an instance of somebody else fills the number"
    assert blind.document["verification"]["ok"] is False
    assert "cannot be identified" in blind.document["error"]["message"]
    assert "refresh the catalogs" in blind.document["error"]["hint"]


@pytest.mark.parametrize("readable", [True, False])
def test_numbers_prove_nothing_in_a_prearchive_session_that_held_others(
    sandbox, upload, exam, elsewhere, tmp_path, readable
):
    """A filter drops one of ours, and an instance of somebody else fills the number: the files themselves decide."""
    other = others_of(exam, tmp_path / "other")
    assert upload("--prearchive", directory=other.directory, env=elsewhere).code == 0
    lost = min(exam.instances)
    sandbox.switches.lost_instances = {lost}
    if not readable:
        sandbox.faults.load([{"match": {"path": "/files/"}, "action": "status", "status": 403}])
    done = upload("--prearchive")
    assert done.code == 6, done.err
    verification = done.document["verification"]
    if not readable:
        assert (verification["level"], verification["ok"]) == ("none", None)
        assert done.document["counts"]["verified"] == 5, "the other series"
        assert "may hold files of other uploads" in done.document["error"]["message"]
        return
    assert [difference["sop_instance_uid"] for difference in verification["differences"]] == [lost]
    assert verification["levels"] == {"none": 1, "uid": 9}
    assert {entry["sop_instance_uid"] for entry in verification["extra"]} == set(other.instances)
    sandbox.switches.lost_instances = set()
    before = arrivals(sandbox)
    done = upload("--prearchive", "--mode", "gradual")
    assert done.code == 0, done.err
    assert arrivals(sandbox) == before + 1


@pytest.mark.parametrize("verb", ["upload", "verify"])
def test_what_others_add_to_a_waiting_session_is_reported_and_no_failure(sandbox, upload, exam, verb):
    """They add to one series and make another that XNAT names like ours, so that only the total could be compared."""
    pydicom = pytest.importorskip("pydicom")
    assert upload("--prearchive").code == 0
    options = ("--prearchive",) if verb == "upload" else ()
    theirs = []
    for number, one in enumerate(list(exam.instances.values())[::5]):
        ds = pydicom.dcmread(one.path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.7.{number}"
        ds.SeriesInstanceUID = ds.SeriesInstanceUID if number else "1.2.826.0.1.8"
        ds.save_as(exam.directory.parent / f"theirs{number}")
        theirs.append(str(exam.directory.parent / f"theirs{number}"))
    sandbox.others.store(theirs, label="e")
    (row,) = sandbox.state.prearchive
    sandbox.prearchive.build(row)
    done = upload(*options, verb=verb)
    assert done.code == 0, done.err
    assert done.document["verification"]["levels"] == {"uid": 10}
    extra = {entry["sop_instance_uid"] for entry in done.document["verification"]["extra"]}
    assert extra == {"1.2.826.0.1.7.0", "1.2.826.0.1.7.1"}
    exact = upload(*options, "--exact", verb=verb)
    assert exact.code == 6, exact.err
    assert {entry["kind"] for entry in exact.document["verification"]["differences"]} == {"extra"}


def test_in_a_prearchive_session_of_others_new_files_count(sandbox, upload, exam, elsewhere, tmp_path):
    """Other instances of the first series are there, and another series; all of ours are new."""
    other = others_of(exam, tmp_path / "other", series=3)
    assert upload("--prearchive", directory=other.directory, env=elsewhere).code == 0
    for _ in range(2):
        done = upload("--prearchive")
        assert done.code == 0, done.err
        assert done.document["verification"]["levels"] == {"counted": 10}
        extra = done.document["verification"]["extra"]
        assert len(extra) == 3, "the other series, and other files in each of ours"


def test_a_cut_file_in_the_prearchive_is_noticed(sandbox, upload, exam):
    assert upload("--prearchive").code == 0
    (row,) = sandbox.state.prearchive
    name = min(row.files)
    path = row.directory / name
    path.write_bytes(path.read_bytes()[:-2000])
    for files in (row.files, row.built):
        files[name] = replace(files[name], size=path.stat().st_size)
    checked = upload(verb="verify")
    assert checked.code == 6
    assert {d["kind"] for d in checked.document["verification"]["differences"]} == {"size"}


def test_a_session_that_waits_for_the_rest_of_its_upload_is_not_missing(sandbox, upload, exam):
    """A direct archive lists no file before it ends: the report says so, and names the command that finishes it."""
    damaged = exam.directory / "damaged"
    damaged.write_bytes(next(iter(exam.instances.values())).path.read_bytes()[:-50])
    assert upload().code == 5
    damaged.unlink()
    checked = upload(verb="verify")
    assert checked.code == 6
    assert [entry["kind"] for entry in checked.document["verification"]["differences"]] == ["state"]
    assert "has not archived the session yet" in checked.document["error"]["message"]
    assert "session upload" in checked.document["error"]["hint"]
    assert upload().code == 0
    assert upload(verb="verify").code == 0


def test_only_what_an_upload_can_mend_names_an_upload(sandbox, upload, exam):
    assert upload().code == 0
    other_subject = upload("-S", "somebody", verb="verify")
    assert other_subject.code == 6
    assert "session upload" not in other_subject.document["error"]["hint"]
    first = min(exam.instances.values(), key=lambda one: one.path)
    first.path.rename(exam.directory.parent / "aside")
    extra = upload("--exact", verb="verify")
    assert extra.code == 6
    assert "session upload" not in extra.document["error"]["hint"]


def test_an_upload_that_is_not_verified_says_what_the_count_showed(sandbox, upload, exam):
    sandbox.switches.rejected_instances = {sorted(exam.instances)[3]}
    done = upload("--no-verify", "--prearchive")
    warnings = " ".join(done.document["warnings"])
    assert "After sending again: " in warnings
    assert "--no-verify accepts that" in warnings
