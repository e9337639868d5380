"""`campaign scan`: studies are found by content, each becomes one row, and its labels come from templates."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from systems import needs_links

from xnatctl.testing import write_exam
from xnatctl_campaign.manifest import read_manifest
from xnatctl_campaign.row import Row
from xnatctl_campaign.scan import Scanner, separate_roots

Scan = Callable[..., list[Row]]


def _study(folder: Path, seed: int, **more: Any) -> str:
    """Write a study of two series with two instances each; returns its UID."""
    wanted = {"series": 2, "instances": 2, "clutter": False, **more}
    return write_exam(folder, seed=seed, **wanted).study_instance_uid


@pytest.fixture
def rows(xnatctl: Callable[..., Any], tmp_path: Path) -> Scan:
    """Scan without an error, and read the manifest that was printed."""

    def scan(*arguments: str | Path, code: int = 0) -> list[Row]:
        result = xnatctl("campaign", "scan", *arguments)
        assert result.code == code, result.err
        (tmp_path / "printed.csv").write_text(result.out)
        return read_manifest(tmp_path / "printed.csv").rows

    return scan


def test_a_study_is_one_row_with_its_folder(rows: Scan, tmp_path: Path) -> None:
    one, two = _study(tmp_path / "d/one", 1), _study(tmp_path / "d/two/deep/er", 2)
    (tmp_path / "d/notes.txt").write_text("not DICOM")
    found = rows("d", "-P", "DEMO", "-S", "{PatientID}", "-E", "{PatientID}_{StudyDate:%Y%m%d}")
    assert [(row.path, row.study_instance_uid, row.files) for row in found] == [
        (f"{tmp_path}/d/one", one, 4),
        (f"{tmp_path}/d/two", two, 4),
    ]
    assert {(row.project, row.subject, row.session) for row in found} == {("DEMO", "PHANTOM", "PHANTOM_20240115")}
    assert found[0].bytes == sum(file.stat().st_size for file in (tmp_path / "d/one").rglob("*") if file.is_file())


def test_a_study_that_is_spread_over_folders_is_one_row(rows: Scan, tmp_path: Path) -> None:
    spread = _study(tmp_path / "d/all/part", 1)
    (tmp_path / "d/all/more").mkdir()
    shutil.move(tmp_path / "d/all/part/series 2", tmp_path / "d/all/more")
    other = _study(tmp_path / "d/other", 2)
    assert [(row.path, row.study_instance_uid) for row in rows("d")] == [
        (f"{tmp_path}/d/all", spread),
        (f"{tmp_path}/d/other", other),
    ]


def test_studies_that_share_folders_are_told_apart_by_uid(rows: Scan, tmp_path: Path) -> None:
    uids = sorted(_study(tmp_path / "d/flat", seed, series=1, naming=("uid",)) for seed in (1, 2))
    inner = _study(tmp_path / "d/flat/series 1/inner", 3)
    assert [(row.path, row.study_instance_uid, row.files) for row in rows("d")] == [
        *((f"{tmp_path}/d/flat/series 1", uid, 2) for uid in uids),
        (f"{tmp_path}/d/flat/series 1/inner", inner, 4),
    ]


def test_a_damaged_series_belongs_to_the_row_beside_it(xnatctl: Callable[..., Any], tmp_path: Path) -> None:
    _study(tmp_path / "d/one", 1)
    _study(tmp_path / "d/two", 2)
    for file in (tmp_path / "d/one/series 2").iterdir():
        file.write_bytes(file.read_bytes()[:-10])
    result = xnatctl("campaign", "scan", "d", "--manifest", "m.csv", "-q")
    assert result.code == 5
    assert "Error: 2 files could not be read, so studies or parts of them may be missing" in result.err
    assert "series 2" in result.err
    assert "damaged" in result.err
    assert [row.path for row in read_manifest(tmp_path / "m.csv").rows] == [f"{tmp_path}/d/one", f"{tmp_path}/d/two"]


def test_archive_files_are_searched(rows: Scan, tmp_path: Path) -> None:
    inside = _study(tmp_path / "x", 1)
    shutil.make_archive(str(tmp_path / "d/exports/one"), "zip", tmp_path / "x")
    shutil.make_archive(str(tmp_path / "root"), "gztar", tmp_path / "x")
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a").write_text("a")
    shutil.make_archive(str(tmp_path / "d/texts"), "zip", tmp_path / "text")
    beside = _study(tmp_path / "d/beside", 2)
    found = rows("d", "-S", "{PatientID}")
    assert [(row.path, row.study_instance_uid, row.subject) for row in found] == [
        (f"{tmp_path}/d/beside", beside, "PHANTOM"),
        (f"{tmp_path}/d/exports/one.zip", inside, "PHANTOM"),
    ]
    assert [(row.path, row.files) for row in rows("root.tar.gz")] == [(f"{tmp_path}/root.tar.gz", 4)]


@needs_links
def test_roots_are_scanned_once(xnatctl: Callable[..., Any], tmp_path: Path) -> None:
    _study(tmp_path / "d/one", 1)
    _study(tmp_path / "e", 1)
    os.symlink("d", tmp_path / "link")
    result = xnatctl("campaign", "scan", "d", "d/one", "link", "e")
    assert result.code == 0
    assert "d/one lies in" in result.err
    assert "1 study is in several rows, first rows 1, 2" in result.err
    assert len(result.out.splitlines()) == 3


def test_what_gives_no_row_is_counted(xnatctl: Callable[..., Any], tmp_path: Path) -> None:
    _study(tmp_path / "d", 1)
    (tmp_path / "d/a.txt").write_text("a")
    (tmp_path / "d/b.txt").write_text("b")
    (tmp_path / "d/empty").touch()
    result = xnatctl("campaign", "scan", "d")
    assert "Skipped: not DICOM (2), empty file (1)." in result.err
    quiet = xnatctl("campaign", "scan", "d", "-q")
    assert (quiet.out, quiet.err) == (result.out, "")


def test_labels_that_need_a_person_are_named(xnatctl: Callable[..., Any], tmp_path: Path) -> None:
    _study(tmp_path / "d/one", 1, patient_id="P 1", study_date="")
    _study(tmp_path / "d/two", 2, patient_id="P2")
    _study(tmp_path / "d/z", 3, patient_id="P2")
    result = xnatctl("campaign", "scan", "d", "-P", "DEMO", "-S", "{PatientID}", "-E", "{PatientID}_{StudyDate:%Y}")
    assert result.code == 0
    assert "d/one has no session: StudyDate is empty in " in result.err
    assert "XNAT would change a label of row 1" in result.err
    assert "2 rows share a session label: rows 2, 3." in result.err
    cells = list(csv.DictReader(result.out.splitlines()))
    assert [(row["subject"], row["session"]) for row in cells] == [("P 1", ""), ("P2", "P2_2024"), ("P2", "P2_2024")]


def test_subjects_are_renamed_by_a_table(xnatctl: Callable[..., Any], tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        _study(tmp_path / f"d/{seed}", seed, patient_id=f"P{seed}")
    (tmp_path / "map.csv").write_text("old,new\nP1,sub-01\nP2,sub-02\n")
    command = ("campaign", "scan", "d", "-S", "{PatientID}", "--map", "map.csv", "--manifest", "m.csv")
    refused = xnatctl(*command)
    assert refused.code == 7
    assert "map.csv has no row for P3." in refused.err
    assert not (tmp_path / "m.csv").exists()
    (tmp_path / "map.csv").write_text("old,new\nP1,sub-01\nP2,sub-02\nP3,sub-03\n")
    assert xnatctl(*command).code == 0
    assert [row.subject for row in read_manifest(tmp_path / "m.csv").rows] == ["sub-01", "sub-02", "sub-03"]
    without = xnatctl("campaign", "scan", "d", "--map", "map.csv")
    assert without.code == 2
    assert "needs --subject" in without.err


def test_labels_from_paths(xnatctl: Callable[..., Any], tmp_path: Path) -> None:
    _study(tmp_path / "d/sub-01/visit-a", 1)
    _study(tmp_path / "d/sub-02/visit-b", 2)
    _study(tmp_path / "d/loose", 3)
    (tmp_path / "d/sub-02/visit-c").mkdir()
    shutil.move(tmp_path / "d/sub-02/visit-b/series 2", tmp_path / "d/sub-02/visit-c")
    result = xnatctl(
        "campaign", "scan", "d", "-S", "{subject}", "-E", "{subject}_{visit}",
        "--path-pattern", r"sub-(?P<subject>\d+)/visit-(?P<visit>\w)/",
    )  # fmt: skip
    cells = {row["path"]: (row["subject"], row["session"]) for row in csv.DictReader(result.out.splitlines())}
    assert cells == {
        f"{tmp_path}/d/sub-01": ("01", "01_a"),
        f"{tmp_path}/d/sub-02": ("02", ""),
        f"{tmp_path}/d/loose": ("", ""),
    }
    assert "sub-02 has no session: the files give several values for visit" in result.err
    assert "loose has no subject: --path-pattern does not match" in result.err


def test_exam_roots(xnatctl: Callable[..., Any], tmp_path: Path) -> None:
    uid = _study(tmp_path / "d/one/dicom", 1)
    (tmp_path / "d/one/notes").mkdir()
    (tmp_path / "d/one/notes/a.txt").write_text("a")
    _study(tmp_path / "d/two/a", 2)
    _study(tmp_path / "d/two/b", 3)
    (tmp_path / "d/papers").mkdir()
    (tmp_path / "d/papers/a.txt").write_text("a")
    (tmp_path / "d/readme").write_text("a")
    result = xnatctl("campaign", "scan", "d", "--kind", "exam", "-E", "{name}", "--path-pattern", "/d/(?P<name>[^/]+)")
    assert result.code == 0
    assert "two holds 2 studies, and an exam holds one" in result.err
    assert "folder without DICOM (1)" in result.err
    cells = [
        (row["path"], row["kind"], row["study_instance_uid"], row["session"])
        for row in csv.DictReader(result.out.splitlines())
    ]
    assert cells == [
        (f"{tmp_path}/d/one", "exam", uid, "one"),
        (f"{tmp_path}/d/two", "exam", "", "two"),
    ]
    for wrong, code in (("d/readme", 2), ("none", 2)):
        assert xnatctl("campaign", "scan", wrong, "--kind", "exam").code == code


def test_a_manifest_is_a_new_file_with_a_document(xnatctl: Callable[..., Any], tmp_path: Path) -> None:
    _study(tmp_path / "d", 1)
    command = ("campaign", "scan", "d", "--manifest", "m.csv")
    printed = xnatctl(*command, "-o", "json")
    document = json.loads(printed.out)
    assert (document["schema"], document["manifest"], document["rows"]) == ("xnatctl.campaign-scan/1", "m.csv", 1)
    before = (tmp_path / "m.csv").read_text()
    again = xnatctl(*command)
    assert again.code == 7
    assert "never overwritten" in again.err
    assert (tmp_path / "m.csv").read_text() == before
    assert xnatctl("campaign", "scan", "d", "--manifest", "n.csv", "-q").out == "n.csv\n"
    assert "xnatctl campaign plan o.csv DIR" in xnatctl("campaign", "scan", "d", "--manifest", "o.csv").out
    assert xnatctl("campaign", "scan", "d", "-o", "csv").out == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "json"), "-o json cannot be used"),
        (("-S", "{PatientId}"), "Did you mean PatientID"),
        (("-S", "{PatientID"), "is not closed"),
        (("-S", "{PatientID}", "--path-pattern", "("), "no regular expression"),
        (("-S", "{PatientID}", "--path-pattern", "(?P<a>x)"), "No template uses a group"),
        (("-S", "{PatientID}", "--map", "none.csv"), "none.csv"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(
    xnatctl: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = xnatctl("campaign", "scan", "no-such-root", *arguments)
    assert (result.code, result.out.strip()[:1]) in ((2, ""), (2, "{"))
    assert message in result.err


def test_nothing_found_is_no_manifest(xnatctl: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.txt").write_text("a")
    result = xnatctl("campaign", "scan", "d", "--manifest", "m.csv")
    assert result.code == 2
    assert "No DICOM was found in" in result.err
    assert "not DICOM (1)" in result.err
    assert not (tmp_path / "m.csv").exists()


def test_a_name_that_no_manifest_can_hold(tmp_path: Path) -> None:
    odd = os.fsdecode(b"s\xe9rie")
    uids = {_study(tmp_path / "d" / odd / "x", 1), _study(tmp_path / "d/other", 2)}
    found = list(Scanner().studies(str(tmp_path / "d")))
    assert {study.path for study in found} == {f"{tmp_path}/d", f"{tmp_path}/d/other"}
    assert {study.study_instance_uid for study in found} == uids


def test_roots_inside_others_are_dropped(tmp_path: Path) -> None:
    said: list[str] = []
    for name in ("a/b", "ab"):
        (tmp_path / name).mkdir(parents=True)
    kept = separate_roots([str(tmp_path / name) for name in ("a/b", "a", "ab", "a/")], said.append)
    assert sorted(kept) == [f"{tmp_path}/a", f"{tmp_path}/ab"]
    assert len(said) == 1
