"""One session from several paths: one plan, one journal, one proof, in whatever order the paths are named."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from contextlib import closing

import pytest

pytestmark = pytest.mark.once

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")


@pytest.fixture
def paths(own_exam):
    """A folder, an archive file and the files of a third series, one by one: relative to the exam."""
    root = own_exam.directory
    with zipfile.ZipFile(root / "two.zip", "w") as packed:
        for file in sorted((root / "series 2").iterdir()):
            packed.write(file, file.name)
    shutil.rmtree(root / "series 2")
    files = [file for file in sorted((root / "series 3").iterdir()) if file.is_file() and not file.is_symlink()]
    return ["series 1", "two.zip", *(f"series 3/{file.name}" for file in files)]


@pytest.fixture
def run(xnatctl, alice, own_exam):
    def start(*words, code=0, cwd=own_exam.directory):
        done = xnatctl(*words, "-o", "json", env=alice, cwd=cwd)
        assert done.code == code, done.err
        return done.document

    return start


def test_a_part_first_then_all_in_another_order(run, sandbox, own_exam, paths, assert_exactly, tmp_path):
    root = str(own_exam.directory)
    sources = sorted(f"{root}/{path}" for path in paths)
    planned = run("session", "upload", *paths, *NAMES, "--dry-run")
    assert (planned["root"], sorted(planned["sources"])) == (root, sources)
    later = {"match": {"path": "services/import"}, "nth": [*range(31, 99)], "action": "status", "status": 403}
    sandbox.faults.load([later])
    first = run("session", "upload", *paths, *NAMES, "--mode", "gradual", code=5)
    assert 20 <= first["counts"]["sent"] < 60
    assert sorted(first["sources"]) == sources
    sandbox.faults.end()
    (row,) = run("upload", "status")["uploads"]
    assert sorted(row["sources"]) == sources
    assert run("session", "upload", *paths[::-1], *NAMES, "--dry-run")["delivered_before"] == first["counts"]["sent"]
    second = run("session", "upload", *paths[::-1], "series 1", *NAMES)
    assert second["counts"]["skipped"] == first["counts"]["sent"]
    assert second["counts"]["sent"] + second["counts"]["skipped"] == second["counts"]["verified"] == 60
    assert_exactly(sandbox, own_exam.digests, place="archive", label="e")
    (again,) = run("upload", "status")["uploads"]
    assert (again["id"], again["state"]) == (row["id"], "complete")
    assert run("upload", "resume", row["id"], cwd=tmp_path)["counts"] == {
        "found": 60, "excluded": second["counts"]["excluded"], "sent": 0, "skipped": 60, "failed": 0, "verified": 60,
    }  # fmt: skip
    compared = run("session", "verify", *paths[2:], *paths[:2], *NAMES, "--exact")
    assert (compared["counts"]["verified"], compared["verification"]["ok"]) == (60, True)
    missing = run("session", "verify", "series 1", *NAMES, "--exact", code=6)
    assert {each["kind"] for each in missing["verification"]["differences"]} == {"extra"}


def test_the_command_for_what_is_missing_names_all_paths(run, paths):
    refused = run("session", "verify", *paths[:3], *NAMES, code=6)
    assert " ".join(f"'{path}'" if " " in path else path for path in paths[:3]) in refused["error"]["hint"]


def test_an_upload_of_one_path_from_before_goes_on_with_several(run, own_exam, paths, home, sandbox, assert_exactly):
    """Its journal knows no `sources`."""
    assert run("session", "upload", "series 1", *NAMES)["counts"]["sent"] == 20
    (path,) = (home / "state" / "xnatctl" / "journals").glob("*.sqlite")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM meta WHERE key = 'sources'")
        (text,) = db.execute("SELECT value FROM meta WHERE key = 'request'").fetchone()
        asked = json.loads(text)
        del asked["request"]["sources"]
        db.execute("UPDATE meta SET value = ? WHERE key = 'request'", [json.dumps(asked)])
    (row,) = run("upload", "status")["uploads"]
    assert row["sources"] == [row["root"]] == [f"{own_exam.directory}/series 1"]
    assert run("upload", "resume", row["id"])["counts"]["skipped"] == 20
    report = run("session", "upload", *paths, *NAMES)
    assert (report["counts"]["skipped"], report["counts"]["sent"]) == (20, 40)
    assert_exactly(sandbox, own_exam.digests, place="archive", label="e")


def test_each_study_of_several_paths(run, own_exam, tmp_path, sandbox):
    from xnatctl.testing.exam import write_exam

    write_exam(tmp_path / "later", series=1, instances=3, seed=8, clutter=False, study_date="20250101")
    paths = (tmp_path / "later", own_exam.directory)
    refused = run("session", "upload", *paths, *NAMES, code=7)
    assert f"{tmp_path / 'later'}" in refused["error"]["message"]
    report = run("session", "upload", *paths, *NAMES, "--split-studies")
    assert [(each["session"], each["counts"]["verified"]) for each in report["studies"]] == [("e", 60), ("e_2", 3)]


def test_an_exam_root_is_one_folder(run, paths):
    refused = run("session", "upload-exam", *paths[:2], *NAMES, code=2)
    assert "one folder" in refused["error"]["message"]


def test_a_misspelt_level_is_no_path(run, paths):
    refused = run("session", "upload", paths[0], *NAMES, "--verify", "crc32", code=2)
    assert "not 'crc32'" in refused["error"]["message"]


def test_a_path_through_a_link_is_resumed_where_it_led(run, own_exam, tmp_path, sandbox, assert_exactly):
    """`link/..` is the folder above the one that the link leads to."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(own_exam.directory / "series 1")
    run("session", "upload", "here/link/../../exam", *NAMES, cwd=tmp_path)
    assert_exactly(sandbox, own_exam.digests, place="archive", label="e")
    (row,) = run("upload", "status")["uploads"]
    assert run("upload", "resume", row["id"], cwd=own_exam.directory)["counts"]["skipped"] == 60
