"""What others do to a server's data, and what its listings say afterwards; asked over HTTP."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from xnatctl.testing import write_exam

SESSION = "/data/experiments/XNAT_E00001"


@pytest.fixture
def records(exam):
    return list(exam.instances.values())


@pytest.fixture
def archived(import_, records):
    """Two scans of four in session e of DEMO, by the import service."""
    assert import_(records, dest="/archive").status == 200
    return records


@pytest.fixture
def waiting(import_, records, http_call):
    """The same, built, in the prearchive; its URI."""
    uri = import_(records).text.strip()
    http_call("POST", uri, query={"action": "build"})
    return uri


@pytest.fixture
def listed(http_call):
    """The file listing of the session: name -> (size, digest)."""

    def look():
        rows = http_call("GET", f"{SESSION}/scans/ALL/files", query={"format": "json"}).rows
        return {row["Name"]: (int(row["Size"]), row["digest"]) for row in rows}

    return look


@pytest.fixture
def catalogued(http_call):
    """The UIDs in the DICOM catalogs of the session."""

    def look():
        documents = [http_call("GET", f"{SESSION}/scans/{scan}/resources/DICOM").text for scan in (1, 2)]
        return [uid for document in documents for uid in re.findall(r'\bUID="([^"]+)"', document)]

    return look


@pytest.fixture
def act(http_call):
    """An action from another process."""

    def send(do, **arguments):
        return http_call("POST", "/sandbox/act", body=json.dumps({"do": do, **arguments}), kind="application/json")

    return send


def path_of(sandbox, record):
    (entry,) = [e for e in sandbox.instances() if e["sop_instance_uid"] == record.sop_instance_uid]
    return Path(entry["path"])


def test_a_cut_file_is_listed_as_before_until_the_catalog_is_refreshed(
    sandbox, archived, listed, catalogued, http_call
):
    victim = archived[0]
    path, before = path_of(sandbox, victim), listed()
    assert sandbox.others.cut(victim.sop_instance_uid, lose=100) == 1
    assert path.stat().st_size == victim.size - 100
    assert listed() == before, "Size and MD5 are the catalog's (xnat-api 2.5)"
    query = {"resource": "/archive/experiments/XNAT_E00001/scans/1", "options": "checksum"}
    assert http_call("POST", "/data/services/refresh/catalog", query=query).status == 200
    assert listed()[path.name][1] == hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    sandbox.others.cut(victim.sop_instance_uid, keep=1000, noticed=True)
    assert listed()[path.name] == (1000, hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())
    assert victim.sop_instance_uid in catalogued()


def test_other_content_under_the_same_uid(sandbox, archived, listed):
    path = path_of(sandbox, archived[0])
    sandbox.others.replace(archived[0].sop_instance_uid, b"x" * 500, noticed=True)
    assert path.read_bytes() == b"x" * 500
    assert listed()[path.name][0] == 500


def test_listings_that_contradict_each_other(sandbox, archived, listed, catalogued, http_call):
    uids = [record.sop_instance_uid for record in archived]
    names = [path_of(sandbox, record).name for record in archived]
    others = sandbox.others
    others.lose_file(uids[0])
    assert names[0] in listed()
    assert http_call("GET", f"{SESSION}/scans/1/resources/DICOM/files/{names[0]}").status == 404
    others.unlist(uids[1])
    assert names[1] not in listed()
    others.uncatalogue(uids[2])
    assert names[2] in listed()
    others.misstate(uids[3], size=5, digest="0" * 32)
    assert listed()[names[3]] == (5, "0" * 32)
    others.forget(uids[4])
    assert names[4] not in listed()
    others.forget_uid(uids[5])
    assert names[5] in listed()
    assert sorted(catalogued()) == sorted({*uids} - {uids[2], uids[4], uids[5]})
    (row,) = http_call("GET", f"{SESSION}/scans/2/resources").rows
    assert row["file_count"] == "4", "the database still counts what the catalog forgot"
    assert others.drop_instance(uids[6]) == 1
    assert len(sandbox.instances()) == 6


def test_contradictions_outlive_the_server(sandbox, archived, tmp_path):
    from xnatctl_sandbox.server import Sandbox

    sandbox.others.unlist(archived[0].sop_instance_uid)
    sandbox.state.dirty, sandbox.autosave.due_at = True, 0
    sandbox.autosave.run()
    with Sandbox(sandbox.directory) as again:
        (experiment,) = again.state.experiments.values()
        assert [len(r.unlisted) for scan in experiment.scans.values() for r in scan.resources] == [1, 0]


@pytest.mark.parametrize("built", [True, False])
def test_files_of_the_prearchive(sandbox, import_, records, http_call, built):
    uri = import_(records).text.strip()
    if built:
        http_call("POST", uri, query={"action": "build"})
    name = path_of(sandbox, records[0]).name
    assert sandbox.others.cut(records[0].sop_instance_uid, lose=10) == 1
    http_call("POST", uri, query={"action": "build"})
    sizes = {row["Name"]: int(row["Size"]) for row in http_call("GET", f"{uri}/scans/1/resources/DICOM/files").rows}
    assert sizes[name] == records[0].size - 10
    sandbox.others.drop_instance(records[1].sop_instance_uid)
    assert len(sandbox.instances()) == 7
    assert sandbox.others.drop_scan("2", label="e") == 1
    assert [row["ID"] for row in http_call("GET", f"{uri}/scans").rows] == ["1"]
    assert len(sandbox.instances()) == 3


def test_a_scan_and_a_session_of_the_archive(sandbox, archived, http_call):
    assert sandbox.others.drop_scan("1") == 1
    assert [row["ID"] for row in http_call("GET", f"{SESSION}/scans").rows] == ["2"]
    assert len(sandbox.instances()) == 4
    assert sandbox.others.delete_session("e") == 1
    assert http_call("GET", SESSION, query={"format": "json"}).status == 404
    assert sandbox.instances() == []


def test_a_session_gets_another_label_and_subject(sandbox, archived, http_call, listed):
    before = listed()
    assert sandbox.others.change_session("e", to_label="f", to_subject="other") == "XNAT_E00001"
    (row,) = http_call("GET", "/data/experiments", query={"columns": "label,subject_label"}).rows
    assert (row["label"], row["subject_label"]) == ("f", "other")
    assert listed() == before
    (name,) = list(before)[:1]
    assert http_call("GET", f"{SESSION}/scans/1/resources/DICOM/files/{name}").status == 200
    assert {entry["session"] for entry in sandbox.instances()} == {"f"}


def test_rows_are_renamed_moved_archived_and_deleted(sandbox, waiting, http_call, records):
    uri = sandbox.others.rename_row("e", "f")
    assert uri == f"{waiting.rpartition('/')[0]}/f"
    assert len(http_call("GET", f"{uri}/scans").rows) == 2
    assert http_call("GET", f"{waiting}/scans").status == 404
    uri = sandbox.others.move_row("f", "MANUAL")
    assert uri.startswith("/data/prearchive/projects/MANUAL/")
    sandbox.others.archive_row("f", project="MANUAL", to_label="g", to_subject="x")
    (row,) = http_call("GET", "/data/projects/MANUAL/experiments", query={"columns": "label,subject_label"}).rows
    assert (row["label"], row["subject_label"]) == ("g", "x")
    assert len([e for e in sandbox.instances() if e["catalogued"]]) == len(records)


def test_a_row_is_deleted(sandbox, waiting, http_call):
    assert sandbox.others.delete_row("e") == 1
    assert http_call("GET", "/data/prearchive/projects/DEMO").rows == []


def test_another_study_is_finished_under_a_label_that_a_direct_archive_is_filling(
    sandbox, import_, records, tmp_path, http_call, until
):
    other = write_exam(tmp_path / "other", series=1, instances=2, seed=9, clutter=False)
    uri = import_(records, Direct__Archive="true").text.strip()
    files = [record.path for record in other.instances.values()]
    assert sandbox.others.store(files, label="e", subject="x", place="archive") == "XNAT_E00001"
    assert {(e["place"], e["sop_instance_uid"]) for e in sandbox.instances()} == {
        *(("direct", uid) for uid in {r.sop_instance_uid for r in records}),
        *(("archive", uid) for uid in other.instances),
    }
    assert http_call("POST", uri).status == 200
    assert until(lambda: not sandbox.state.direct)
    (row,) = http_call("GET", "/data/prearchive/projects/DEMO").rows
    assert (row["status"], row["tag"]) == ("ERROR", sandbox.state.prearchive[0].tag)
    held = {e["sop_instance_uid"] for e in sandbox.instances() if e["place"] == "archive" and e["catalogued"]}
    assert held == set(other.instances)


def test_foreign_instances_join_a_row_and_an_archived_session(sandbox, import_, records, http_call):
    first, second, third = records[:3], records[3:5], records[5:]
    import_(first)
    uri = sandbox.others.store([r.path for r in second], label="e")
    assert [row["url"] for row in http_call("GET", "/data/prearchive/projects/DEMO").rows] == [
        uri.removeprefix("/data")
    ]
    http_call("POST", uri, query={"action": "commit", "AA": "true"})
    sandbox.others.store([r.path.read_bytes() for r in third], label="e", place="archive")
    held = [e["sop_instance_uid"] for e in sandbox.instances() if e["place"] == "archive" and e["catalogued"]]
    assert sorted(held) == sorted(r.sop_instance_uid for r in records)
    with pytest.raises(ValueError, match="same resources"):
        sandbox.others.store([r.path for r in third], label="e", place="archive")


def test_from_another_process_and_mistakes(sandbox, act, archived, tmp_path):
    uid = archived[0].sop_instance_uid
    assert (act("cut", uid=uid, lose=5).status, path_of(sandbox, archived[0]).stat().st_size) == (
        200,
        archived[0].size - 5,
    )
    assert act("store", files=[str(r.path) for r in archived], label="f").json.endswith("/f")
    for answer in (
        act("cut", uid="1.2"), act("explode"), act("cut"), act("cut", uid=uid, colour=1), act("move_row", label="x"),
        act("store", files=[str(tmp_path / "none")], label="f"), act("store", files=[], label="f"),
        act("archive_row", label="nobody"), act("store", files=[str(archived[0].path)], label="f", place="x"),
        act("archive_row", label="f", overwrite="x"),
    ):  # fmt: skip
        assert answer.status == 400
        assert "Traceback" not in answer.text
    (tmp_path / "text").write_text("no DICOM")
    assert "unable to read" in act("store", files=[str(tmp_path / "text")], label="f").text


def test_every_action_is_on_the_page(sandbox):
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "use-the-sandbox.md").read_text()
    assert {name for name in sandbox.others.actions() if f"`{name}`" not in page} == set()


def test_a_site_that_keeps_no_checksums(http_call, import_, records, listed):
    def set_(**values):
        return http_call("POST", "/sandbox/site", body=json.dumps(values), kind="application/json").status

    assert set_(checksums=False) == 200
    assert import_(records, dest="/archive").status == 200
    assert {digest for _, digest in listed().values()} == {""}
    assert {size for size, _ in listed().values()} == {record.size for record in records}
    assert [set_(checksums="no"), set_(colour="blue")] == [400, 400]
