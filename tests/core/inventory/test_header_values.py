"""Values of a header by their keywords, compared with pydicom: encodings, character sets, archive files."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pytest
from packed import packed

from xnatctl.api.commands import header_values
from xnatctl.errors import Refused, SourceChanged, UsageError
from xnatctl.inventory import header_values as module
from xnatctl.inventory.character_sets import decoded
from xnatctl.inventory.files import scan_files
from xnatctl.inventory.forward import Forward
from xnatctl.inventory.keywords import KEYWORDS
from xnatctl.inventory.part10 import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
from xnatctl.inventory.walk import scan_path

pydicom = pytest.importorskip("pydicom", reason="the dicom extra is not installed")

SYNTAXES = [EXPLICIT, IMPLICIT, DEFLATED, BIG_ENDIAN]
SAMPLES = sorted((Path(pydicom.__file__).parent / "data" / "charset_files").glob("chr[!S]*.dcm"))
#: Declared character sets, the bytes of a name, and the name: PS3.5 H.3, H.4, I.2, J.1, J.2, K.2 and others.
NAMES = [
    ("", b"Yamada^Tarou", "Yamada^Tarou"),
    ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东=".encode(), "Wang^XiaoDong=王^小东="),
    ("GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030"), "Wang^XiaoDong=王^小东="),
    ("ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
    ("ISO_IR 126", "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
    (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (
        "\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
    ("ISO 2022 IR 100\\ISO 2022 IR 126", b"Buc^J\xe9r\xf4me=\x1b-F\xc4\xe9\xef", "Buc^Jérôme=Διο"),
]


def dataset(syntax, charset="", name=b"Doe^Jane", **values):
    ds = pydicom.Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.4", "1.2.3", "1.2.3.5"
    if charset:
        ds.SpecificCharacterSet = charset.split("\\")
    ds.PatientID, ds.StudyDate, ds.Rows = "P-1", "20240115", 4
    ds.add_new(0x00100010, "PN", name)
    for key, value in values.items():
        setattr(ds, key, value)
    ds.PixelData = bytes(32)
    ds["PixelData"].VR = "OW"
    out = io.BytesIO()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.fixture
def item_of(tmp_path):
    """The item of a file with these bytes, as an inventory makes it."""

    def make(data, name="I1"):
        (tmp_path / "exam").mkdir(exist_ok=True)
        (tmp_path / "exam" / name).write_bytes(data)
        (item,) = scan_path(str(tmp_path / "exam" / name)).items
        return item

    return make


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_of_every_encoding(item_of, syntax):
    data = dataset(syntax, SoftwareVersions=["A 1", "B"], StudyDescription=" Head ", SeriesNumber="12")
    keywords = ["PatientID", "PatientName", "SoftwareVersions", "StudyDescription", "SeriesNumber", "StudyID"]
    assert header_values(item_of(data), keywords) == {
        "PatientID": "P-1",
        "PatientName": "Doe^Jane",
        "SoftwareVersions": "A 1\\B",
        "StudyDescription": "Head",
        "SeriesNumber": "12",
        "StudyID": "",
    }


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_values_of_a_member_of_an_archive_file(item_of, kind):
    members = {"a/notes.txt": b"text", "a/I1": dataset(EXPLICIT)}
    assert header_values(item_of(packed(kind, members), f"exam.{kind}"), ["PatientID"]) == {"PatientID": "P-1"}


def test_a_value_behind_a_long_private_element_is_found(item_of):
    ds = pydicom.dcmread(io.BytesIO(dataset(EXPLICIT, PerformedProcedureStepID="PPS 7")))
    ds.add_new(0x00290010, "LO", "ACME")
    ds.add_new(0x00291010, "OB", b"\x08\x00\x50\x00" * 250_000)
    out = io.BytesIO()
    ds.save_as(out)
    assert header_values(item_of(out.getvalue()), ["PerformedProcedureStepID"]) == {"PerformedProcedureStepID": "PPS 7"}


def test_pixel_data_are_not_read(item_of, monkeypatch):
    ds = pydicom.dcmread(io.BytesIO(dataset(EXPLICIT)))
    ds.PixelData = bytes(64 * 2**20)
    out = io.BytesIO()
    ds.save_as(out)
    read = []

    class Counting(Forward):
        def __init__(self, more):
            super().__init__(lambda count: read.append(count) or more(count))

    monkeypatch.setattr(module, "Forward", Counting)
    assert header_values(item_of(out.getvalue()), ["PatientID"]) == {"PatientID": "P-1"}
    assert sum(read) <= 2 * 4096


@pytest.mark.parametrize(("charset", "raw", "name"), NAMES, ids=[name[0] or "none" for name in NAMES])
def test_names_are_decoded(item_of, charset, raw, name):
    item = item_of(dataset(EXPLICIT, charset, raw))
    assert header_values(item, ["PatientName"]) == {"PatientName": name}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_names_of_real_character_sets(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path)
        terms = ds.SpecificCharacterSet
        declared = terms if isinstance(terms, str) else "\\".join(terms)
        assert decoded(ds["PatientName"].value.original_string, declared).strip(" ") == str(ds.PatientName)


def test_bytes_outside_of_the_character_set_stay_different():
    first, second = decoded(b"M\xfcller", ""), decoded(b"M\xf6ller", "ISO_IR 999")
    assert (first, second) == ("M\\xfcller", "M\\xf6ller")


@pytest.mark.parametrize(("wrong", "right"), [("PatientId", "PatientID"), ("StudyDescripton", "StudyDescription")])
def test_an_unknown_keyword_is_refused_with_those_that_are_alike(item_of, wrong, right):
    with pytest.raises(UsageError, match=f"'{wrong}' is not known") as error:
        header_values(item_of(dataset(EXPLICIT)), ["PatientID", wrong])
    assert right in error.value.hint


def test_a_keyword_that_is_like_no_other_lists_all(item_of):
    with pytest.raises(UsageError) as error:
        header_values(item_of(dataset(EXPLICIT)), ["Zzz"])
    assert all(keyword in error.value.hint for keyword in KEYWORDS)


def test_keywords_are_those_of_the_standard():
    texts = {"AS", "CS", "DA", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI"}
    for keyword, tag in KEYWORDS.items():
        assert pydicom.datadict.keyword_for_tag(tag) == keyword
        assert pydicom.datadict.dictionary_VR(tag) in texts


def test_a_file_that_changed_is_named(item_of, tmp_path):
    item = item_of(dataset(EXPLICIT))
    (tmp_path / "exam" / "I1").write_bytes(b"other")
    with pytest.raises(SourceChanged, match="I1 has changed"):
        header_values(item, ["PatientID"])


def test_a_file_that_is_not_dicom_is_refused(tmp_path):
    (tmp_path / "table.csv").write_text("a,b,c\n" * 100)
    (item,) = scan_files(str(tmp_path / "table.csv")).items
    with pytest.raises(Refused, match=r"table\.csv cannot be read: it is not DICOM"):
        header_values(item, ["PatientID"])


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_series_is_described_by_its_first_file(tmp_path, syntax, kind):
    files = {
        f"I{number}": dataset(syntax, "ISO_IR 100", SeriesDescription=text, SOPInstanceUID=f"1.2.{number}")
        for number, text in enumerate(["T1 Größe ", "another"], 1)
    }
    if kind == "folder":
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
    else:
        (tmp_path / "exam").write_bytes(packed(kind, files))
    first, second = scan_path(str(tmp_path if kind == "folder" else tmp_path / "exam")).items
    assert first.series is second.series
    assert first.series.series_description == "T1 Größe"


def test_a_long_description_is_cut_and_a_plan_that_is_stored_has_none(item_of):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dataset(EXPLICIT, SeriesDescription="x" * 64 + "y" * 100)
    item = item_of(data)
    assert item.series.series_description == "x" * 64
    assert "xxx" not in str(item.as_document())
