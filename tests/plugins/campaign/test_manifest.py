"""Manifests as people and spreadsheets write them: they are read, or each fault is named with its row."""

from __future__ import annotations

import os
import re
import string
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from systems import needs_fifos, needs_links

from xnatctl.api import NotFound, PermissionDenied, Refused, UsageError, clean_label
from xnatctl_campaign.manifest import COLUMNS, Manifest, read_manifest
from xnatctl_campaign.manifest_writer import write_manifest
from xnatctl_campaign.row import Kind, Row

HEAD = "path,project,subject,session"


def _read(tmp_path: Path, content: str | bytes) -> Manifest:
    file = tmp_path / "m.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_manifest(file)


def _codes(manifest: Manifest) -> list[tuple[int, int, str]]:
    return [(finding.row, finding.line, finding.code) for finding in manifest.findings]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        pytest.param(f"{HEAD}\na,P,s1,e1\nb,P,s2,e2\n".encode(), [2, 3], id="plain"),
        pytest.param(f"{HEAD}\na,P,s1,e1\nb,P,s2,e2".encode(), [2, 3], id="no-last-newline"),
        pytest.param(f"{HEAD}\r\na,P,s1,e1\r\nb,P,s2,e2\r\n".encode(), [2, 3], id="crlf"),
        pytest.param(f"{HEAD}\ra,P,s1,e1\rb,P,s2,e2\r".encode(), [2, 3], id="cr"),
        pytest.param(f"\ufeff{HEAD}\na,P,s1,e1\nb,P,s2,e2\n".encode(), [2, 3], id="bom"),
        pytest.param(f"{HEAD}\na,P,s1,e1\nb,P,s2,e2\n".replace(",", "\t").encode("utf-16"), [2, 3], id="utf-16-tabs"),
        pytest.param(b"\xfe\xff" + f"{HEAD}\na,P,s1,e1\nb,P,s2,e2\n".encode("utf-16-be"), [2, 3], id="utf-16-be"),
        pytest.param(f"{HEAD}\na,P,s1,e1\nb,P,s2,e2\n".replace(",", ";").encode(), [2, 3], id="semicolons"),
        pytest.param(f"sep=;\r\n{HEAD};\r\na,P,s1,e1;\r\nb,P,s2,e2;\r\n".replace(",", ";").encode(), [3, 4], id="sep"),
        pytest.param(f"\n\n{HEAD}\n\na,P,s1,e1\n,,,\n  ,,,\nb,P,s2,e2\n\n".encode(), [5, 8], id="empty-rows"),
        pytest.param(b" PATH ,Project,SUBJECT,Session\na,P,s1,e1\nb,P,s2,e2\n", [2, 3], id="case-and-blanks"),
        pytest.param(b'"path","project","subject","session"\n"a",P,"s1",e1\nb,"P",s2,"e2"\n', [2, 3], id="quotes"),
        pytest.param(b"session,subject,project,path\ne1,s1,P,a\ne2,s2,P,b\n", [2, 3], id="order"),
        pytest.param(f"{HEAD},,\na,P,s1,e1,,\nb,P,s2,e2,,,,\n".encode(), [2, 3], id="separators-at-the-end"),
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path: Path, content: bytes, lines: list[int]) -> None:
    manifest = _read(tmp_path, content)
    assert manifest.findings == []
    assert [(row.number, row.line, row.path, row.project, row.subject, row.session) for row in manifest.rows] == [
        (1, lines[0], "a", "P", "s1", "e1"),
        (2, lines[1], "b", "P", "s2", "e2"),
    ]


def test_quotes_hold_separators_quotes_and_newlines(tmp_path: Path) -> None:
    manifest = _read(tmp_path, f'{HEAD}\n"/x/a, ""b""\nc",P,s,e\n/y,P,s,f\n')
    assert manifest.findings == []
    assert [(row.path, row.line) for row in manifest.rows] == [('/x/a, "b"\nc', 2), ("/y", 4)]


def test_all_columns_are_read(tmp_path: Path) -> None:
    header = "path,project,subject,session,Study Instance UID,KIND,resource,mode,overwrite,files,bytes,ignore-reason"
    manifest = _read(
        tmp_path,
        f"{header}\na,P,s,e,1.2.3,DICOM,,tar,Append,20,4000,\nb,P,s,e,,resource,NIFTI,,,,,\nc,P,s,f,,exam,,,,,,on hold\n",
    )
    assert manifest.findings == []
    first, second, third = manifest.rows
    assert (first.study_instance_uid, first.kind, first.mode, first.overwrite) == ("1.2.3", Kind.DICOM, "tar", "append")
    assert (first.files, first.bytes) == (20, 4000)
    assert (second.kind, second.resource, second.files) == (Kind.RESOURCE, "NIFTI", None)
    assert (third.kind, third.ignore_reason) == (Kind.EXAM, "on hold")


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        pytest.param(b"", [(0, 0, "empty")], id="empty"),
        pytest.param(b"\n\n,,\n", [(0, 0, "empty")], id="blank"),
        pytest.param(HEAD.encode(), [(0, 0, "no-rows")], id="no-rows"),
        pytest.param(b"/data/a,P,s1,e1\n/data/b,P,s2,e2\n", [(0, 1, "no-header")], id="no-header"),
        pytest.param(b"path,project,subject\na,P,s\n", [(0, 1, "missing-column")], id="missing"),
        pytest.param(b"path,project,subject,session,path\na,P,s,e,a\n", [(0, 1, "repeated-column")], id="repeated"),
        pytest.param(b'path,"project"x,subject,session\na,P,s,e\n', [(0, 1, "not-csv")], id="header-quotes"),
        pytest.param(b"PK\x03\x04\x14\0\x06\0", [(0, 0, "not-csv")], id="workbook"),
        pytest.param(f"{HEAD}\na,P,s,e\n".encode("utf-16-le"), [(0, 0, "not-csv")], id="utf-16-without-bom"),
        pytest.param(f"{HEAD}\na,P,s,e\n".encode("utf-32"), [(0, 0, "not-csv")], id="utf-32"),
        pytest.param(b"\xff\xfea", [(0, 0, "not-csv")], id="odd-utf-16"),
        pytest.param(f'{HEAD}\na,P,s1,e1\n"b,P,s2,e2\nc,P,s3,e3\n'.encode(), [(0, 3, "not-csv")], id="unclosed"),
        pytest.param(f'{HEAD}\n"b,P,s2,e2\n"c",P,s3,e3\n'.encode(), [(0, 2, "not-csv")], id="unclosed-then-quoted"),
        pytest.param(f'{HEAD}\n"b,P,s2,e2\n",P\n'.encode(), [(0, 2, "not-csv")], id="unclosed-and-ragged"),
    ],
)
def test_a_file_that_cannot_be_read_blocks_as_a_whole(
    tmp_path: Path, content: bytes, codes: list[tuple[int, int, str]]
) -> None:
    manifest = _read(tmp_path, content)
    assert _codes(manifest) == codes
    assert 0 in manifest.blocked


@pytest.mark.parametrize(
    ("row", "code", "text"),
    [
        ("b,P,s", "ragged", "3 values"),
        ("b,P,s,e,,,,,,,,,more", "ragged", "13 values"),
        ('b,P,"s"2,e,,,,,,,,', "quotes", "after a closing quote"),
        ("b,P,M\udce9ller,e,,,,,,,,", "encoding", "byte 0xE9 (é in Windows-1252)"),
        ("b\udc81,P,s,e,,,,,,,,", "encoding", "path holds byte 0x81"),
        ("b\0,P,s,e,,,,,,,,", "control-character", "path"),
        ("b,P,s\x07,e,,,,,,,,", "control-character", "subject"),
        ('b,P,s,"e\nf",,,,,,,,', "control-character", "session"),
        (",P,s,e,,,,,,,,", "empty-value", "path is empty"),
        ("b,P, ,e,,,,,,,,", "empty-value", "subject is empty"),
        ("b,P,s,e,,resource,,,,,,", "empty-value", "resource is empty"),
        ("b,P,s,e,1.2E+10,,,,,,,", "number-mangled", "1.2E+10"),
        ('b,P,s,e,"1,2E+10",,,,,,,', "number-mangled", "1,2E+10"),
        ("b,P,1E+05,e,,,,,,,,", "number-mangled", "subject is 1E+05"),
        ("b,P,#NAME?,e,,,,,,,,", "number-mangled", "an error of a spreadsheet"),
        ("b,P,s,e,one.two,,,,,,,", "uid-invalid", "'one.two' is not a UID"),
        ("b,P,s,e,,dicon,,,,,,", "kind-unknown", "'dicon'"),
        ("b,P,s,e,,,,,replace,,,", "overwrite-unknown", "'replace'"),
        ('b,P,s,e,,,,,,"1,000",,', "not-a-number", "files is '1,000'"),
        ("b,P,s,e,,,,,,,-5,", "not-a-number", "bytes is '-5'"),
        ("b,P,s,e,,,NIFTI,,,,,", "unused-value", "the kind is dicom"),
        ("b,P,s,e,1.2,resource,NIFTI,,,,,", "unused-value", "study_instance_uid"),
        ("-,P,s,e,,,,,,,,", "path-unusable", "standard input"),
        ("~/b,P,s,e,,,,,,,,", "path-unusable", "not expanded"),
        ("a,P,s,e,,,,,,,,", "duplicate-row", "the same as row 1"),
        ("./x/../a,P,s,e,,,,,,,,", "duplicate-row", "the same as row 1"),
        ("a ,P,s,e,,,,,,,,", "blanks", "part of the path"),
        ("b,P\u00a0,s,e,,,,,,,,", "blanks", "project begins or ends with blanks"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path: Path, row: str, code: str, text: str) -> None:
    content = f"{','.join(COLUMNS)}\na,P,s,e,,,,,,,,\n{row}\nc,P,s,e3,,,,,,,,\n"
    manifest = _read(tmp_path, content.encode("utf-8", "surrogateescape"))
    assert _codes(manifest) == [(2, 3, code)]
    (finding,) = manifest.findings
    assert finding.place == "Row 2 (line 3)"
    assert text in finding.message
    assert finding.message.isprintable()
    assert manifest.blocked == (set() if code == "blanks" else {2})
    assert [each.number for each in manifest.rows] == [1, 2, 3]
    assert manifest.rows[2].session == "e3"


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    content = f"{HEAD},kind\n,P,s,\na,P,s,e,exma\nb,P,s,e2,\nb,P,s,e2,\n".replace("\n,P,s,\n", "\n,P,s,,\n")
    assert _codes(_read(tmp_path, content)) == [
        (1, 2, "empty-value"),
        (1, 2, "empty-value"),
        (2, 3, "kind-unknown"),
        (4, 5, "duplicate-row"),
    ]


def test_a_row_to_be_ignored_is_not_checked_further(tmp_path: Path) -> None:
    manifest = _read(tmp_path, f"{HEAD},kind,ignore_reason\n~a,,,,what,later\nb,P,s,e,,\nb,P,s,e,,twice\n")
    assert manifest.findings == []


def test_a_misspelt_column_blocks_and_another_is_ignored(tmp_path: Path) -> None:
    manifest = _read(tmp_path, f"{HEAD},ignore_reasn,remarks\na,P,s,e,on hold,x\n")
    assert [(finding.blocks, finding.hint[:12]) for finding in manifest.findings] == [
        (True, "Did you mean"),
        (False, ""),
    ]
    assert "ignore_reason?" in manifest.findings[0].hint
    assert manifest.blocked == {0}


def test_own_columns_beside_the_known_ones_are_ignored(tmp_path: Path) -> None:
    manifest = _read(tmp_path, f"{HEAD},session_date,subject_id,notes,\na,P,12E3,1e5,2024,7,x,\nb,P,s,e,,,,y\n")
    assert [finding.code for finding in manifest.findings] == ["unknown-column"] * 3 + ["ragged"]
    assert manifest.findings[-1].message == "It has a value in a column without a name."
    assert manifest.blocked == {2}


def test_surrounding_blanks_are_dropped_from_labels(tmp_path: Path) -> None:
    manifest = _read(tmp_path, f"{HEAD}\na, P ,s\u00a0,e\n")
    assert (manifest.rows[0].project, manifest.rows[0].subject) == ("P", "s")
    assert manifest.blocked == set()


def test_paths_are_absolute_or_below_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "m.csv").write_text(f"{HEAD}\na,P,s,e\n/data/b,P,s,e2\n../c,P,s,e3\n")
    monkeypatch.chdir(tmp_path)
    manifest = read_manifest("below/m.csv")
    assert [manifest.source(row) for row in manifest.rows] == [f"{tmp_path}/below/a", "/data/b", f"{tmp_path}/c"]


@needs_fifos
def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "secret").touch(0o000)
    for name, error in [
        ("-", UsageError),
        (tmp_path, UsageError),
        (tmp_path / "fifo", UsageError),
        (tmp_path / "none", NotFound),
        ("a\0b", PermissionDenied),
    ]:
        with pytest.raises(error):
            read_manifest(name)
    if os.geteuid():
        with pytest.raises(PermissionDenied):
            read_manifest(tmp_path / "secret")


def _write_many(file: Path, count: int) -> None:
    with open(file, "w") as out:
        out.write(",".join(COLUMNS) + "\n")
        for number in range(1, count + 1):
            kind = "dicom" if number != 77_777 else "dcm"
            out.write(f"/archive/{number:06},P,sub-{number:06},e{number:06},1.2.826.{number},{kind},,,,20,10000,\n")


@pytest.mark.lab
def test_a_hundred_thousand_rows(tmp_path: Path) -> None:
    _write_many(tmp_path / "m.csv", 100_000)
    manifest = read_manifest(tmp_path / "m.csv")
    assert len(manifest.rows) == 100_000
    assert _codes(manifest) == [(77_777, 77_778, "kind-unknown")]


def test_a_row_takes_little_memory(tmp_path: Path) -> None:
    _write_many(tmp_path / "m.csv", 5_000)
    tracemalloc.start()
    read_manifest(tmp_path / "m.csv")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most / 5_000 < 2_000


def test_the_page_lists_all_codes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "campaign-manifest.md").read_text()
    table = page.partition("## Findings")[2].splitlines()
    listed = {
        code for line in table if line.startswith("| `") for code in re.findall("`([a-z-]+)`", line.split("|")[1])
    }
    files = test_a_file_that_cannot_be_read_blocks_as_a_whole.pytestmark[0].args[1]
    rows = test_a_bad_row_is_named_and_the_others_are_read.pytestmark[0].args[1]
    made = {code for file in files for _, _, code in file.values[1]} | {code for _, code, _ in rows}
    assert listed == made | {"unknown-column"}


# writing

_LABEL = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and not text.upper().startswith("#") and "E" not in text.upper()
)
_PATH = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).map(
    lambda name: f"/{name}"
)
_NUMBER = st.none() | st.integers(0, 10**15)
_UID = st.just("") | st.integers(1, 10**9).map(lambda number: f"1.2.{number}")


def _row(values: tuple[str, str, str, str, str, bool, int | None, int | None, str]) -> Row:
    path, project, subject, session, uid, resource, files, size, reason = values
    return Row(
        number=1,
        line=1,
        path=path,
        project=project,
        subject=subject,
        session=session,
        study_instance_uid="" if resource else uid,
        kind=Kind.RESOURCE if resource else Kind.DICOM,
        resource="NIFTI" if resource else "",
        files=files,
        bytes=size,
        ignore_reason=reason,
    )


_ROW = st.tuples(_PATH, _LABEL, _LABEL, _LABEL, _UID, st.booleans(), _NUMBER, _NUMBER, st.just("") | _LABEL).map(_row)


def _content(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in COLUMNS)


@given(st.lists(_ROW, min_size=1, max_size=8, unique_by=lambda row: row.path))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_a_written_manifest_reads_back_the_same(tmp_path: Path, rows: list[Row]) -> None:
    file = tmp_path / "m.csv"
    file.unlink(missing_ok=True)
    write_manifest(file, rows)
    manifest = read_manifest(file)
    assert [_content(row) for row in manifest.rows] == [_content(row) for row in rows]
    assert [finding for finding in manifest.findings if finding.code not in ("duplicate-row", "blanks")] == []


@given(st.binary(max_size=300))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    for data in (content, HEAD.encode() + b"\n" + content):
        manifest = _read(tmp_path, data)
        assert all(finding.message.isprintable() and finding.hint.isprintable() for finding in manifest.findings)
        assert manifest.rows or manifest.findings


def test_a_header_value_is_no_formula(tmp_path: Path) -> None:
    values = ["=1+1", "-1", "+x", "@x", "'x", "''=x"]
    rows = [
        Row(number=n, line=n + 1, path=f"/{n}", project="P", subject=value, session="e")
        for n, value in enumerate(values, 1)
    ]
    write_manifest(tmp_path / "m.csv", rows)
    cells = [line.split(",")[2] for line in (tmp_path / "m.csv").read_text().splitlines()[1:]]
    assert all(cell.startswith("'") for cell in cells)
    assert [row.subject for row in read_manifest(tmp_path / "m.csv").rows] == values
    assert set("".join(map(clean_label, values))) <= set(string.ascii_letters + string.digits + "_-")


@needs_links
def test_a_manifest_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("m.csv", "link"):
        with pytest.raises(Refused, match="never overwritten"):
            write_manifest(tmp_path / name, [])
    assert (tmp_path / "m.csv").read_text() == "mine"
    with pytest.raises(PermissionDenied):
        write_manifest(tmp_path / "none" / "m.csv", [])


def test_no_part_of_a_manifest_is_left(tmp_path: Path) -> None:
    def rows() -> object:
        yield Row(number=1, line=2, path="/a", project="P", subject="s", session="e")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_manifest(tmp_path / "m.csv", rows())  # type: ignore[arg-type]
    assert not (tmp_path / "m.csv").exists()
