"""Receivers that others wrote: DCMTK's storescp, and Orthanc. What arrives is what lies on disk."""

from __future__ import annotations

import hashlib
import io
import shutil
import warnings
from collections import defaultdict
from pathlib import Path

import pydicom
import pytest

from xnatctl.inventory.walk import scan_path

pytestmark = pytest.mark.once

SAMPLES = Path(pydicom.__file__).parent / "data"
#: DCMTK's parser does not get to their end: implicit under a JPEG transfer syntax, cut off.
DAMAGED = {"SC_rgb_jpeg.dcm", "MR_truncated.dcm", "rtplan_truncated.dcm"}
#: Orthanc answers C000 to these, whoever sends them.
DISLIKED = {"rtdose_rle.dcm", "rtdose_rle_1frame.dcm"}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Path]:
    """pydicom's files that can be sent, in folders in which no SOP Instance UID is twice."""
    rounds: defaultdict[int, list[Path]] = defaultdict(list)
    seen: defaultdict[str, list[bytes]] = defaultdict(list)
    for path in sorted(p for folder in ("test_files", "charset_files") for p in (SAMPLES / folder).rglob("*")):
        if not path.is_file():
            continue
        items = scan_path(str(path)).items if path.suffix != ".gz" else ()
        if len(items) != 1:
            continue
        content = path.read_bytes()
        same = seen[items[0].sop_instance_uid]
        if content not in same:
            rounds[len(same)].append(path)
            same.append(content)
    folders = []
    for number, paths in rounds.items():
        folder = tmp_path_factory.mktemp(f"samples{number}")
        for index, path in enumerate(paths):
            (folder / f"{index:03d} {path.name}").write_bytes(path.read_bytes())
        folders.append(folder)
    assert sum(len(list(folder.iterdir())) for folder in folders) > 130
    return folders


def tags(ds) -> set[int]:
    """The elements that mean something: no group lengths, no padding behind the end."""
    return {int(element.tag) for element in ds if element.tag.element and element.tag != 0xFFFCFFFC}


def data_set(path: Path, mixed) -> bytes:
    """The data set of a sample, without our own code; the samples without preamble have no meta header."""
    return mixed.split(path.read_bytes())[1]


def test_every_sample_arrives_at_dcmtk_byte_for_byte(storescp, deliver, mixed, samples):
    """A deflated one of odd length is among them, which ends with a NUL (PS3.5 A.5)."""
    syntaxes, odd = set(), 0
    for folder in samples:
        receiver = storescp()
        done = deliver(folder, receiver.port, workers=3)
        assert done.error is None, done.reasons
        items = {item.path: item for item in scan_path(str(folder)).items}
        expected = {}
        for path, item in items.items():
            data = data_set(folder / path, mixed)
            odd += len(data) % 2
            expected[item.sop_instance_uid] = hashlib.sha256(data + bytes(len(data) % 2)).hexdigest()
        assert receiver.data_sets(mixed) == expected
        syntaxes |= {item.transfer_syntax_uid for item in items.values()}
    assert len(syntaxes) >= 9
    assert odd == 1


@pytest.mark.parametrize("where", ["storescp", "orthanc"])
def test_data_sets_of_odd_length_arrive(where, request, deliver, mixed, tmp_path):
    """In every transfer syntax that is not compressed, deflated, and compressed."""
    expected = mixed.write_odd(tmp_path / "exam")
    receiver = request.getfixturevalue(where)()
    done = deliver(tmp_path / "exam", receiver.port)
    assert done.error is None, done.reasons
    if where == "storescp":  # keeps every byte
        assert receiver.data_sets(mixed) == expected
        return
    arrived = receiver.instances()
    assert set(arrived) == set(expected)
    for content in arrived.values():
        ds = pydicom.dcmread(io.BytesIO(content))
        assert ds.PatientName in ("Phantom^Synthetic", "Phantom^Syntheti")
        assert len(ds.get("PixelData", b"")) % 2 == 0


def test_every_sample_arrives_at_orthanc(orthanc, deliver, samples, tmp_path):
    """It parses what it gets and writes it anew, so that the elements are compared."""
    for whole in samples:
        folder = tmp_path / whole.name
        shutil.copytree(
            whole, folder, ignore=lambda _, names: [name for name in names if name[4:] in DAMAGED | DISLIKED]
        )
        if not any(folder.iterdir()):
            continue
        receiver = orthanc()
        done = deliver(folder, receiver.port, workers=2)
        items = {item.sop_instance_uid: item for item in scan_path(str(folder)).items}
        assert done.error is None, done.reasons
        arrived = receiver.instances()
        assert set(arrived) == set(items)
        for uid, content in arrived.items():
            item = items[uid]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sent = pydicom.dcmread(folder / item.path, force=True)
                got = pydicom.dcmread(io.BytesIO(content), force=True)
                assert got.file_meta.TransferSyntaxUID == item.transfer_syntax_uid
                assert tags(got) == tags(sent)
                if "PixelData" in sent:
                    assert got.PixelData == sent.PixelData


@pytest.mark.lab
def test_a_file_that_makes_a_receiver_fall_silent_costs_one_file(orthanc, deliver, mixed, tmp_path):
    """Orthanc never answers to a data set that it cannot read, and keeps the association open."""
    expected = mixed.write(tmp_path / "exam", 24)
    bad = tmp_path / "exam" / "0"
    bad.write_bytes((SAMPLES / "test_files" / "SC_rgb_jpeg.dcm").read_bytes())
    receiver = orthanc()
    done = deliver(tmp_path / "exam", receiver.port, workers=1, answer_timeout=3.0)
    assert {item.path for item in done.report.items if item.outcome != "accepted"} == {"0"}
    assert done.reasons["0"] == "the receiver gave no answer for 3 s"
    assert set(receiver.instances()) == set(expected)


@pytest.mark.timeout(300)
def test_two_thousand_instances_over_eight_transfer_syntaxes(storescp, xnatctl, mixed, tmp_path, dicom_env):
    expected = mixed.write(tmp_path / "exam", 2000, classes=(mixed.CT, mixed.MR, mixed.SC), studies=3)
    receiver = storescp()
    done = xnatctl("session", "upload-dicom", tmp_path / "exam", "-o", "json", env=dicom_env(receiver.port))
    assert done.code == 0, done.err
    assert done.document["counts"]["sent"] == 2000
    assert receiver.data_sets(mixed) == expected


@pytest.mark.lab
@pytest.mark.timeout(300)
def test_the_same_to_orthanc(orthanc, deliver, mixed, tmp_path):
    expected = mixed.write(tmp_path / "exam", 400, classes=(mixed.CT, mixed.MR))
    receiver = orthanc()
    done = deliver(tmp_path / "exam", receiver.port, workers=4)
    assert done.error is None, done.reasons
    assert set(receiver.instances()) == set(expected)


def test_a_receiver_that_serves_one_association_at_a_time(storescp, deliver, mixed, tmp_path):
    """storescp without --fork: three of four workers are left waiting, and everything arrives all the same."""
    expected = mixed.write(tmp_path / "exam", 120)
    receiver = storescp(fork=False)
    done = deliver(tmp_path / "exam", receiver.port, workers=4)
    assert done.error is None, done.reasons
    assert receiver.data_sets(mixed) == expected


def test_a_hundred_and_thirty_contexts(storescp, deliver, mixed, tmp_path):
    from pynetdicom.sop_class import _STORAGE_CLASSES

    classes = sorted(map(str, _STORAGE_CLASSES.values()))[:26]
    syntaxes = (mixed.IMPLICIT, mixed.EXPLICIT, mixed.BIG_ENDIAN, mixed.JPEG, mixed.RLE)
    expected = mixed.write(tmp_path / "exam", 130, syntaxes=syntaxes, classes=classes)
    receiver = storescp()
    done = deliver(tmp_path / "exam", receiver.port, workers=2)
    assert done.error is None, done.reasons
    assert receiver.data_sets(mixed) == expected


@pytest.mark.parametrize("where", ["storescp", "orthanc"])
def test_the_wrong_title(where, request, xnatctl, mixed, tmp_path, dicom_env):
    mixed.write(tmp_path / "exam", 1)
    receiver = request.getfixturevalue(where)(*(["--max-associations", "9"] if where == "never" else []))
    done = xnatctl("session", "upload-dicom", tmp_path / "exam", env=dicom_env(receiver.port, "WRONG"))
    if where == "storescp":  # it takes any title
        assert done.code == 0
        return
    assert done.code == 4
    assert "no AE title WRONG" in done.err


@pytest.mark.parametrize("where", ["storescp", "orthanc"])
def test_what_they_say_they_are(where, request, xnatctl, mixed, tmp_path, dicom_env):
    mixed.write(tmp_path / "exam", 16)
    receiver = request.getfixturevalue(where)()
    done = xnatctl("session", "upload-dicom", tmp_path / "exam", "--echo", "-o", "json", env=dicom_env(receiver.port))
    assert done.code == 0, done.err
    document = done.document
    assert document["echo_status"] == "0x0000"
    assert document["implementation_class_uid"].startswith("1.2.276.0.7230010.3.0.3")
    assert {row["taken"] for row in document["contexts"]} == {"yes"}


def test_encrypted_to_orthanc(orthanc, deliver, mixed, tmp_path, certificates):
    expected = mixed.write(tmp_path / "exam", 30)
    receiver = orthanc(
        DicomTlsEnabled=True,
        DicomTlsCertificate=certificates["server.pem"],
        DicomTlsPrivateKey=certificates["server.key"],
        DicomTlsTrustedCertificates=certificates["ca.pem"],
    )
    done = deliver(
        tmp_path / "exam", receiver.port, tls=True, ca_cert=certificates["ca.pem"],
        client_cert=certificates["client.pem"], client_key=certificates["client.key"],
    )  # fmt: skip
    assert done.error is None, done.reasons
    assert set(receiver.instances()) == set(expected)
    without = deliver(tmp_path / "exam", receiver.port, ca_cert=None)
    assert without.report.counts.skipped == 30, "proven already; nothing was sent in the clear"


def test_an_upload_by_http_to_a_receiver_names_the_port(storescp, xnatctl, mixed, tmp_path):
    mixed.write(tmp_path / "exam", 1)
    receiver = storescp()
    url = f"http://127.0.0.1:{receiver.port}"
    login = {"XNAT_URL": url, "XNAT_USER": "alice", "XNAT_PASS": "alice"}
    done = xnatctl("session", "upload", tmp_path / "exam", "-P", "DEMO", "-S", "s", "-E", "e", env=login)
    assert done.code == 4
    assert url in done.err
    assert "may belong to another service, such as a DICOM receiver" in done.err
