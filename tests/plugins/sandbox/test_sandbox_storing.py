"""What the server keeps of a DICOM file (xnat-import 4.1a); pydicom reads the stored files."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
import zlib
from pathlib import Path

import pytest
from kept import assert_kept, kept

MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG_ENDIAN, DEFLATED, RLE = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG2000 = "1.2.840.10008.1.2.4.90"
PIXELS = bytes(range(256)) * 2


def element(group, number, vr, value, *, explicit=True, order="<"):
    """One data element; a value of None is a sequence or fragments of undefined length that follow."""
    length = 0xFFFFFFFF if value is None else len(value)
    if not explicit:
        return struct.pack(f"{order}HHI", group, number, length) + (value or b"")
    if vr in ("OB", "OW", "SQ", "UN"):
        return struct.pack(f"{order}HH2s2xI", group, number, vr.encode(), length) + (value or b"")
    return struct.pack(f"{order}HH2sH", group, number, vr.encode(), length) + value


def item(content=None, *, order="<"):
    return struct.pack(f"{order}HHI", 0xFFFE, 0xE000, 0xFFFFFFFF if content is None else len(content)) + (
        content or b""
    )


ITEM_END, SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def meta(syntax, *, length=None):
    body = element(2, 1, "OB", b"\0\1") + element(2, 2, "UI", MR.encode() + b"\0") + element(2, 3, "UI", b"1.2.3.4\0")
    if syntax:
        body += element(2, 0x10, "UI", syntax.encode() + b"\0" * (len(syntax) % 2))
    return element(2, 0, "UL", struct.pack("<I", len(body) if length is None else length)) + body


def head(*, explicit=True, order="<", groups=False, more=b"", uid=b"1.2.3.4\0"):
    """A data set up to what the server parses; `groups` adds group lengths as old devices do."""

    def one(*what):
        return element(*what, explicit=explicit, order=order)

    group8 = one(8, 0x16, "UI", MR.encode() + b"\0") + one(8, 0x18, "UI", uid) + one(8, 0x60, "CS", b"MR") + more
    group20 = one(0x20, 0xD, "UI", b"1.2.3\0") + one(0x20, 0xE, "UI", b"1.2.3.1\0") + one(0x20, 0x11, "IS", b"7 ")
    if groups:
        group8 = one(8, 0, "UL", struct.pack(f"{order}I", len(group8))) + group8
        group20 = one(0x20, 0, "UL", struct.pack(f"{order}I", len(group20))) + group20
    return group8 + group20


def tail(*, explicit=True, order="<"):
    window = element(0x40, 0x9096, "US", struct.pack(f"{order}H", 16), explicit=explicit, order=order)
    return window + element(0x7FE0, 0x10, "OW", PIXELS, explicit=explicit, order=order)


def part10(data_set, syntax=EXPLICIT, preamble=bytes(128), **options):
    return preamble + b"DICM" + meta(syntax, **options) + data_set


@pytest.fixture
def send(http_call):
    """One object through gradual-DICOM."""

    def post(data, **query):
        wanted = {"import-handler": "gradual-DICOM", "PROJECT_ID": "DEMO", "SUBJECT_ID": "s", "EXPT_LABEL": "e",
                  "rename": "true", "inbody": "true", "prevent_auto_commit": "true", **query}  # fmt: skip
        return http_call("POST", "/data/services/import", query=wanted, body=data, kind="application/dicom")

    return post


@pytest.fixture
def store(send, sandbox):
    """Send one object and take the stored file."""

    def post(data, **query):
        answer = send(data, **query)
        assert answer.status == 200, answer.text
        (entry,) = sandbox.instances()
        return Path(entry["path"]).read_bytes()

    return post


def read(data):
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data))


# the head is written anew, the rest is copied


def test_a_file_that_has_the_librarys_form_already_keeps_its_bytes(store):
    sent = part10(head() + tail())
    assert store(sent) == sent


def test_preamble_group_lengths_and_sequence_lengths_change_and_nothing_else(store):
    inner = element(8, 0x1150, "UI", MR.encode() + b"\0")
    sequence = element(8, 0x1140, "SQ", item(inner) + item(b""))
    sent = part10(head(groups=True, more=sequence) + tail(), preamble=b"II*\0" * 32)
    stored = store(sent)
    assert_kept(stored, sent)
    assert stored[:132] == bytes(128) + b"DICM"
    assert stored.endswith(tail())
    # Two group lengths of 12 bytes go; the filled item and the sequence get a delimiter of 8 bytes each.
    assert len(stored) == len(sent) - 2 * 12 + 2 * 8
    assert not [tag for tag in read(stored) if tag.tag.element == 0]
    undefined = element(8, 0x1140, "SQ", None) + item() + inner + ITEM_END + item(b"") + SEQUENCE_END
    assert undefined in stored
    assert read(stored).PixelData == PIXELS


def test_group_lengths_behind_the_head_stay(store):
    late = element(0x40, 0, "UL", struct.pack("<I", 10)) + tail()
    assert store(part10(head() + late)).endswith(late)


def test_the_head_ends_before_the_tag_after_study_comments(store):
    """A sequence in group 0032 with a length of its own: rewritten up to 4000, copied from 4001 on."""
    before = element(0x32, 0x1064, "SQ", item(element(8, 0x100, "SH", b"CODE")))
    comments = element(0x32, 0x4000, "LT", b"ab")
    after = element(0x40, 0x260, "SQ", item(element(8, 0x100, "SH", b"CODE")))
    stored = store(part10(head() + before + comments + after + tail()))
    assert stored.endswith(comments + after + tail())
    assert before not in stored


def test_a_routing_rule_moves_the_end_of_the_head(store, sandbox):
    from xnatctl_sandbox.world.routing_expressions import RoutingExpressions

    sandbox.state.routing = RoutingExpressions(project="(0040,A040):(.*)")
    after = element(0x40, 0x260, "SQ", item(element(8, 0x100, "SH", b"CODE")))
    stored = store(part10(head() + after + element(0x40, 0xA040, "CS", b"TEXT") + tail()))
    assert after not in stored


@pytest.mark.parametrize(
    ("syntax", "options"),
    [
        (EXPLICIT, {}),
        (IMPLICIT, {"explicit": False}),
        (BIG_ENDIAN, {"order": ">"}),
        (JPEG2000, {}),
        ("1.2.3.4.5.6", {}),  # the library takes what it does not know for explicit little endian
    ],
)
def test_the_encoding_of_the_data_set_stays(store, syntax, options):
    data_set = head(groups=True, **options) + tail(**options)
    stored = store(part10(data_set, syntax))
    assert stored.endswith(tail(**options))
    assert stored == part10(head(**options) + tail(**options), syntax)


def test_encapsulated_pixel_data_are_copied(store):
    fragments = element(0x7FE0, 0x10, "OB", None) + item(b"") + item(b"abcd") + item(b"efg!") + SEQUENCE_END
    sent = part10(head(groups=True) + fragments, JPEG2000)
    assert store(sent).endswith(fragments)


@pytest.mark.parametrize("groups", [False, True])
def test_a_deflated_data_set_gets_a_deflated_head_of_its_own_and_the_rest_is_lost_to_readers(store, groups):
    """The library finishes the stream of the head, and XNAT copies the stream that came behind it."""
    deflater = zlib.compressobj(wbits=-15)
    deflated = deflater.compress(head(groups=groups) + tail()) + deflater.flush()
    stored = store(part10(deflated, DEFLATED))
    assert stored.endswith(deflated)
    start = len(part10(b"", DEFLATED))
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(stored[start:]) == head()
    assert inflater.unused_data == deflated


def test_file_meta_information_is_made_where_it_names_no_transfer_syntax(store):
    for sent in (part10(head() + tail(), None), head() + tail()):
        stored = store(sent)
        ds = read(stored)
        assert ds.file_meta.TransferSyntaxUID == EXPLICIT
        assert ds.file_meta.MediaStorageSOPClassUID == MR
        assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
        assert ds.file_meta.ImplementationVersionName == "dcm4che-2.0"
        assert stored.endswith(head() + tail())


def test_implicit_files_without_meta_information_become_a_mixture(store):
    """Explicit VR is assumed and written, the copied rest stays implicit: XNAT does that (4.1a)."""
    stored = store(head(explicit=False) + tail(explicit=False))
    assert stored.endswith(head() + tail(explicit=False))


def test_a_wrong_length_of_the_meta_information_is_corrected(store):
    for length in (0, 4, 5000):
        assert store(part10(head() + tail(), length=length)) == part10(head() + tail())


def test_un_becomes_what_the_dictionary_says(store):
    stored = store(part10(head(more=element(8, 0x1030, "UN", b"DEMO")) + tail()))
    assert read(stored).StudyDescription == "DEMO"
    assert stored == part10(head(more=element(8, 0x1030, "LO", b"DEMO")) + tail())


def test_un_that_is_a_sequence_is_read_as_implicit_and_written_as_explicit(store):
    implicit = element(8, 0x1150, "UI", MR.encode() + b"\0", explicit=False)
    explicit = element(8, 0x1150, "UI", MR.encode() + b"\0")
    stored = store(part10(head(more=element(8, 0x1140, "UN", item(implicit))) + tail()))
    assert element(8, 0x1140, "SQ", None) + item() + explicit + ITEM_END + SEQUENCE_END in stored
    private = (
        element(9, 0x10, "LO", b"ACME") + element(9, 0x1001, "UN", None) + item() + implicit + ITEM_END + SEQUENCE_END
    )
    stored = store(part10(head(more=private) + tail()))
    assert element(9, 0x1001, "SQ", None) + item() + explicit + ITEM_END + SEQUENCE_END in stored


def test_odd_values_are_padded_and_elements_are_put_in_order(store):
    sent = head(uid=b"1.2.3.4") + element(0x10, 0x20, "LO", b"abc") + element(0x10, 0x10, "PN", b"A^B") + tail()
    stored = store(part10(sent))
    assert stored.endswith(tail())
    ds = read(stored)
    assert (ds.SOPInstanceUID, ds.PatientID, ds.PatientName) == ("1.2.3.4", "abc", "A^B")
    assert element(0x10, 0x10, "PN", b"A^B ") + element(0x10, 0x20, "LO", b"abc ") in stored
    assert b"1.2.3.4\0" in stored


def test_an_invalid_vr_is_looked_up_in_the_dictionary(store):
    odd = struct.pack("<HH2sH", 8, 0x1030, b"  ", 4) + b"DEMO"
    assert read(store(part10(head(more=odd) + tail()))).StudyDescription == "DEMO"


def test_files_of_one_make_change_by_one_amount(send, sandbox, tmp_path):
    """The exam of the test kit with headers as devices write them: sizes by arithmetic, lengths of groups by pydicom."""
    import pydicom

    from xnatctl.testing import write_exam

    exam = write_exam(
        tmp_path / "exam",
        series=2,
        instances=12,
        transfer_syntaxes=(EXPLICIT, IMPLICIT),
        clutter=False,
        device_headers=True,
    )
    changes = {}
    for instance in exam.instances.values():
        assert send(instance.path.read_bytes()).status == 200
    for entry in sandbox.instances():
        instance = exam.instances[entry["sop_instance_uid"]]
        assert_kept(entry["path"], instance.path)
        size = Path(entry["path"]).stat().st_size
        changes.setdefault(entry["series_instance_uid"], set()).add(size - instance.size)
        ds = pydicom.dcmread(instance.path)
        groups = [tag.group for tag in sorted(ds.keys()) if tag.element == 0]
        assert groups == [0x8, 0x10, 0x18, 0x20, 0x28, 0x7FE0]
        assert ds[0x7FE0, 0].value == len(ds.PixelData) + (8 if "series 2" in str(instance.path) else 12)
    # Five group lengths of 12 bytes are in the head; its one sequence has one item.
    assert list(changes.values()) == [{2 * 8 - 5 * 12}] * 2


# files that are cut


def test_a_file_that_is_cut_behind_the_head_is_stored_without_a_word(send, sandbox, http_call):
    whole = part10(head(groups=True) + tail())
    for lost in (1, 100, len(PIXELS), len(tail()) - 3):
        answer = send(whole[:-lost])
        assert answer.status == 200
        (entry,) = sandbox.instances()
        stored = Path(entry["path"]).read_bytes()
        assert stored.endswith(tail()[:-lost])
        assert entry["sop_instance_uid"] == "1.2.3.4"
    uri = answer.text.strip()
    assert http_call("POST", uri, query={"action": "commit", "AA": "true"}).status == 301
    (row,) = http_call("GET", "/data/experiments/XNAT_E00001/scans/ALL/files").rows
    assert row["Size"] == str(len(stored))
    assert row["digest"] == hashlib.md5(stored, usedforsecurity=False).hexdigest()
    catalog = http_call("GET", "/data/experiments/XNAT_E00001/scans/7/resources/DICOM").text
    assert 'UID="1.2.3.4"' in catalog


def test_a_file_that_is_cut_in_a_value_of_the_head_is_refused_and_between_elements_it_is_the_end(send, sandbox):
    whole = part10(head())
    for lost in (1, 2):  # in the value of Series Number, two bytes long
        answer = send(whole[:-lost])
        assert (answer.status, "unable to read DICOM object upload.dcm" in answer.text) == (400, True)
    assert sandbox.instances() == []
    assert send(whole[:-5]).status == 200, "in the header of the last element: the library takes it for the end"


def test_an_entry_that_is_cut_in_its_archive_leaves_a_part_only_where_a_switch_says_so(
    http_call, bundle, exam, sandbox
):
    records = list(exam.instances.values())
    query = {"import-handler": "DICOM-zip", "PROJECT_ID": "DEMO", "EXPT_LABEL": "e", "rename": "true"}
    body = bundle(records[:1])
    body = body[: len(body) // 2 + 200]
    for switch, count in ((False, 0), (True, 1)):
        sandbox.switches.keeps_cut_files = switch
        answer = http_call("POST", "/data/services/import", query=query, body=body, kind="application/zip")
        assert (answer.status, "unable to read DICOM object" in answer.text) == (400, True)
        assert len(sandbox.instances()) == count
    assert Path(sandbox.instances()[0]["path"]).stat().st_size < records[0].size


def test_a_body_that_is_cut_leaves_a_part_only_where_a_switch_says_so(sandbox, until):
    import base64
    import socket
    from urllib.parse import urlsplit

    sent, target = part10(head(groups=True) + tail()), urlsplit(sandbox.url)
    query = "import-handler=gradual-DICOM&PROJECT_ID=DEMO&EXPT_LABEL=e&rename=true&inbody=true"
    request = (
        f"POST /data/services/import?{query} HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n"
        f"Authorization: Basic {base64.b64encode(b'alice:alice').decode()}\r\nContent-Length: {len(sent)}\r\n\r\n"
    )
    for switch, count in ((False, 0), (True, 1)):
        sandbox.switches.keeps_cut_files = switch
        with socket.create_connection((target.hostname, target.port), 30) as connection:
            connection.sendall(request.encode() + sent[:-200])
        assert until(lambda: sandbox.is_quiet())
        assert len(sandbox.instances()) == count
    assert Path(sandbox.instances()[0]["path"]).read_bytes().endswith(tail()[:-200])


# what nothing can be made of


@pytest.mark.parametrize(
    "data",
    [
        b"this is no image, whatever its name says\n" * 8,
        b"%PDF-1.4\n",
        part10(element(8, 0x1140, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 500) + b"short")),
        part10(struct.pack("<HH2s2xI", 8, 0x16, b"OB", 0x90000000)),
        part10((element(8, 0x1140, "SQ", None) + item()) * 2000),
        part10(b"no deflated stream", DEFLATED),
    ],
    ids=["text", "pdf", "short sequence", "2 GiB value", "2000 sequences", "not deflated"],
)
def test_what_cannot_be_parsed_is_400_and_never_a_traceback(send, sandbox, data):
    answer = send(data)
    assert (answer.status, "unable to read DICOM object upload.dcm" in answer.text) == (400, True)
    assert sandbox.instances() == []
    assert sandbox.state.prearchive == []


def test_without_sop_uids(send):
    for data_set in (b"", element(8, 0x60, "CS", b"MR"), item(b"an item without a sequence")):
        assert "contains no SOP Class UID" in send(part10(data_set)).text
    assert "contains no SOP Instance UID" in send(part10(head(uid=b""))).text


@pytest.mark.once
def test_every_file_of_pydicoms_own_tests_is_kept_or_refused(send, sandbox):
    """No traceback for any of them, and what is stored has the data set and the tail that were sent."""
    import pydicom

    samples = Path(pydicom.__file__).parent / "data" / "test_files"
    # Explicit by its transfer syntax, implicit by its bytes; group 0001, which XNAT drops; deflated, see above.
    odd = {"SC_rgb_jpeg.dcm", "nested_priv_SQ.dcm", "image_dfl.dcm"}
    stored = 0
    for path in sorted(p for p in samples.rglob("*") if p.is_file() and p.stat().st_size < 3_000_000):
        answer = send(path.read_bytes())
        assert answer.status in (200, 400), path
        for entry in sandbox.instances():
            assert answer.status == 200
            stored += 1
            if path.name not in odd:
                assert_kept(entry["path"], path)
            Path(entry["path"]).unlink()
    assert stored > 100


# switches


def test_a_server_of_other_make_keeps_the_bytes(store, sandbox):
    sandbox.switches.rewrites_heads = False
    sent = part10(head(groups=True) + tail(), preamble=b"x" * 128)
    assert store(sent) == sent


def test_the_sites_script_changes_values_and_lengths_and_the_record_shows_what_came(store, sandbox, send, http_call):
    sandbox.switches.site_script = {"PatientName": "Anonymous", "PatientID": None, "SeriesDescription": "a longer one",
                                    "StudyInstanceUID": "hashUID"}  # fmt: skip
    sent = part10(head() + element(0x10, 0x10, "PN", b"A^B ") + element(0x10, 0x20, "LO", b"abc ") + tail())
    stored = store(sent)
    ds = read(stored)
    assert (ds.PatientName, "PatientID" in ds, ds.SeriesDescription) == ("Anonymous", False, "a longer one")
    assert ds.StudyInstanceUID.startswith("2.25.")
    assert (ds.SOPInstanceUID, ds.PixelData) == ("1.2.3.4", PIXELS)
    assert stored.endswith(tail())
    (line,) = (sandbox.directory / "received.jsonl").read_text().splitlines()
    assert json.loads(line)["sha256"] == hashlib.sha256(sent).hexdigest()
    (row,) = sandbox.state.prearchive
    assert row.tag == "1.2.3", "the row was made before the script ran"
    uri = send(sent).text.strip()
    assert http_call("POST", uri, query={"action": "commit", "AA": "true"}).status == 301
    (experiment,) = sandbox.state.experiments.values()
    assert (experiment.uid, experiment.scans["7"].series_description) == (ds.StudyInstanceUID, "a longer one")
    # prevent_anon of the first file holds for the row; a site may have switched its script off.
    assert kept(store_again(send, sandbox, sent, EXPT_LABEL="f", prevent_anon="true")) == kept(sent)
    sandbox.state.site["enableSitewideAnonymizationScript"] = False
    assert kept(store_again(send, sandbox, sent, EXPT_LABEL="g")) == kept(sent)


def store_again(send, sandbox, data, **query):
    assert send(data, **query).status == 200
    (entry,) = [entry for entry in sandbox.instances() if entry["session"] == query["EXPT_LABEL"]]
    return Path(entry["path"]).read_bytes()


def test_the_script_gives_other_sop_instance_uids(store, sandbox, http_call):
    sandbox.switches.remap_uids = True
    stored = store(part10(head() + tail()))
    assert read(stored).SOPInstanceUID.startswith("2.25.")
    assert read(stored).file_meta.MediaStorageSOPInstanceUID == read(stored).SOPInstanceUID
    assert store(part10(head() + tail())) == stored, "the same one each time, in the same place"


def test_a_cut_file_fails_in_the_script_and_leaves_nothing(send, sandbox):
    sandbox.switches.site_script = {"PatientName": "Anonymous"}
    answer = send(part10(head() + tail())[:-1])
    assert (answer.status, "unable to read DICOM object" in answer.text) == (400, True)
    assert sandbox.instances() == []


def test_a_rejected_file_leaves_an_empty_row_that_cannot_be_archived(send, sandbox, http_call):
    sandbox.switches.rejected_instances = {"1.2.3.4"}
    answer = send(part10(head() + tail()), prevent_auto_commit="false")
    assert (answer.status, answer.body) == (200, b"")
    (row,) = sandbox.state.prearchive
    assert (row.status, row.files) == ("RECEIVING", {})
    sandbox.advance_clock(301)
    sandbox.tick()
    assert (row.status, sandbox.state.experiments) == ("ERROR", {})
    assert "nothing to archive" in row.logs[-1][1]


@pytest.mark.parametrize("direct", [False, True])
def test_the_projects_script_runs_when_the_session_is_archived(send, sandbox, http_call, until, direct):
    sandbox.switches.project_scripts = {"DEMO": {"PatientName": "Nobody", "SOPInstanceUID": "hashUID"}}
    sent = part10(head(groups=True) + element(0x10, 0x10, "PN", b"A^B ") + tail())
    uri = send(sent, **({"Direct-Archive": "true"} if direct else {})).text.strip()
    (entry,) = sandbox.instances()
    assert kept(entry["path"]) == kept(sent)
    assert http_call("POST", uri, query={"action": "commit", "AA": "true"}).status in (200, 301)
    assert until(lambda: sandbox.instances()[0]["place"] == "archive")
    (entry,) = sandbox.instances()
    ds = read(Path(entry["path"]).read_bytes())
    assert (ds.PatientName, ds.PixelData, ds.SOPInstanceUID[:5]) == ("Nobody", PIXELS, "2.25.")
    catalog = http_call("GET", "/data/experiments/XNAT_E00001/scans/7/resources/DICOM").text
    assert f'UID="{ds.SOPInstanceUID}"' in catalog
    (row,) = http_call("GET", "/data/experiments/XNAT_E00001/scans/ALL/files").rows
    assert row["Size"] == str(Path(entry["path"]).stat().st_size)


def test_the_projects_script_fails_on_a_cut_file(send, sandbox, http_call):
    sandbox.switches.project_scripts = {"DEMO": {"PatientName": "Nobody"}}
    uri = send(part10(head() + tail())[:-1]).text.strip()
    assert http_call("POST", uri, query={"action": "commit", "AA": "true"}).status == 500
    (row,) = sandbox.state.prearchive
    assert (row.status, "Unable to anonymize" in row.logs[-1][1]) == ("ERROR", True)


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_2frame.dcm"])
def test_rle_is_decompressed_where_the_server_can(send, sandbox, name):
    import pydicom
    from pydicom.data import get_testdata_file

    path = Path(get_testdata_file(name, download=False))
    sandbox.switches.decompresses = True
    assert send(path.read_bytes()).status == 200
    (entry,) = sandbox.instances()
    stored, sent = pydicom.dcmread(entry["path"]), pydicom.dcmread(path)
    assert (stored.file_meta.TransferSyntaxUID, sent.file_meta.TransferSyntaxUID) == (EXPLICIT, RLE)
    assert stored.SOPInstanceUID == sent.SOPInstanceUID
    decoder = pydicom.pixels.get_decoder(RLE)
    frames = b"".join(bytes(frame) for frame, _ in decoder.iter_buffer(sent))
    assert stored.PixelData == frames
    assert len(frames) == stored.Rows * stored.Columns * stored.SamplesPerPixel * stored.BitsAllocated // 8 * int(
        stored.get("NumberOfFrames", 1)
    )


def test_what_cannot_be_decoded_is_stored_as_it_came(send, sandbox):
    sandbox.switches.decompresses = True
    broken = element(0x7FE0, 0x10, "OB", None) + item(b"") + item(b"no RLE at all!") + SEQUENCE_END
    for syntax in (RLE, "1.2.840.10008.1.2.4.100"):  # RLE, and MPEG2, which nothing here decodes
        assert send(part10(head() + broken, syntax)).status == 200
        (entry,) = sandbox.instances()
        assert Path(entry["path"]).read_bytes() == part10(head() + broken, syntax)
    cut = part10(head() + broken, RLE)[:-14]
    assert send(cut).status == 400, "cut in a fragment: it is parsed to its end before it is decoded"


def test_a_label_that_is_too_long_for_a_folder_is_told_as_a_file_that_cannot_be_read(send):
    answer = send(part10(head() + tail()), EXPT_LABEL="x" * 300)
    assert (answer.status, "unable to read DICOM object" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("number", "scan"),
    [(b"/a", "_a"), (b"+5", "_5"), (b"1.5x", "1.5x"), (b"..", "__"), (b"no number at all ", "no_number_at_all")],
)
def test_values_that_break_their_vr_are_stored_as_they_are(send, sandbox, http_call, number, scan):
    odd = element(8, 0x20, "DA", b"yesterday ") + element(8, 0x30, "TM", b"noon") + element(0x10, 0x1010, "AS", b"old ")
    odd += element(0x18, 0x50, "DS", b"thick ")
    sent = part10(
        head().replace(element(0x20, 0x11, "IS", b"7 "), element(0x20, 0x11, "IS", number + b" " * (len(number) % 2)))
        + element(0x20, 0x13, "IS", b"/b") + element(0x20, 0x52, "UI", b"letters.") + tail()
    )  # fmt: skip
    sent = sent.replace(element(0x20, 0xD, "UI", b"1.2.3\0"), odd + element(0x20, 0xD, "UI", b"1.2.3\0"))
    for _ in range(2):
        answer = send(sent)
        assert answer.status == 200, answer.text
    (entry,) = sandbox.instances()
    stored = Path(entry["path"]).read_bytes()
    assert sorted(stored) == sorted(sent)
    assert stored.endswith(tail())
    assert entry["scan"] == scan
    assert http_call("POST", answer.text.strip(), query={"action": "commit", "AA": "true"}).status == 301
    (row,) = http_call("GET", "/data/experiments/XNAT_E00001/scans").rows
    assert row["ID"] == scan
    assert len(http_call("GET", f"/data/experiments/XNAT_E00001/scans/{scan}/files").rows) == 1
