"""The DICOM Receiver (xnat-api 5), spoken to by raw primitives and by dcmtk's tools."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import warnings
from pathlib import Path

import pytest
from kept import assert_kept
from programs import system_program

pytestmark = pytest.mark.once

MR, VERIFICATION = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.1"
EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
JPEG2000 = "1.2.840.10008.1.2.4.90"
DEFLATED, HTJ2K = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.201"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"

needs_dcmtk = pytest.mark.skipif(
    system_program("storescu") is None and not os.environ.get("CI"), reason="dcmtk is not installed"
)


@pytest.fixture
def records(exam):
    return list(exam.instances.values())


def digest(data):
    return hashlib.sha256(data).hexdigest()


# associations


def test_echo_and_what_the_receiver_says_of_itself(receiving, scu):
    with scu.associate([(VERIFICATION, [IMPLICIT, EXPLICIT, BIG])]) as assoc:
        assert assoc.is_established
        assert assoc.send_c_echo().Status == 0
        assert assoc.acceptor.maximum_length == 16384
        assert assoc.acceptor.implementation_version_name == "dcm4che-2.0"
        assert str(assoc.accepted_contexts[0].transfer_syntax[0]) == IMPLICIT
        assoc.release()
    with scu.associate([(VERIFICATION, [BIG])]) as assoc:
        assert [cx.result for cx in assoc.rejected_contexts] == [4]


@pytest.mark.parametrize("called", ["xnat", "XNAT2", "ANY-SCP"])
def test_the_called_ae_title_is_checked(receiving, called, scu):
    with scu.associate(called=called) as assoc:
        assert assoc.answers
        answer = assoc.answers[0]
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 7)
    assert receiving.associations[0].ended == "rejected"


@pytest.mark.parametrize(
    ("entries", "welcome"),
    [
        (["TESTSCU"], True), (["OTHER"], False), (["127.0.0.1"], True), (["127.0.0.0/8"], True), (["10.0.0.0/8"], False),
        (["TESTSCU@127.0.0.1"], True), (["TESTSCU@10.0.0.1"], False), (["OTHER@127.0.0.1"], False), ([], False),
    ],
)  # fmt: skip
def test_the_whitelist(receiving, entries, welcome, scu):
    receiving.add_scp("GUARDED", whitelist_enabled=True, whitelist=tuple(entries))
    with scu.associate(called="GUARDED") as assoc:
        assert assoc.is_established is welcome
        if not welcome:
            assert (assoc.answers[0].result, assoc.answers[0].diagnostic) == (1, 3)


def test_the_acceptor_chooses_by_its_own_order(receiving, scu):
    offers = [
        (MR, [JPEG2000, EXPLICIT]), (MR, [IMPLICIT, BIG]), (MR, [JPEG2000]), (MR, [DEFLATED]), (MR, [HTJ2K]),
        (PRESENTATION_STATE, [EXPLICIT]),
    ]  # fmt: skip
    with scu.associate(offers) as assoc:
        chosen = {cx.context_id: str(cx.transfer_syntax[0]) for cx in assoc.accepted_contexts}
        refused = {cx.context_id: cx.result for cx in assoc.rejected_contexts}
    assert chosen == {1: EXPLICIT, 3: BIG, 5: JPEG2000}
    assert refused == {7: 4, 9: 4, 11: 3}


def test_vendors_classes_are_stored(receiving, scu):
    for number, sop_class in enumerate(("1.3.12.2.1107.5.9.1", "1.3.46.670589.11.0.0.12.4")):
        uid = f"1.2.3.{number}"
        with scu.associate([(sop_class, [EXPLICIT])]) as assoc:
            assert scu.store(assoc, sop_class, uid, scu.header(uid=uid, SOPClassUID=sop_class)).Status == 0
            assoc.release()
    assert len(receiving.instances()) == 2


def test_the_window_is_mirrored_and_requests_may_overlap(receiving, scu, records, sent_data):
    """Asked for five at once, five are granted; every one is answered (5.2)."""
    from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    with scu.associate(extended=[window]) as assoc:
        assert assoc.acceptor.asynchronous_operations == (5, 5)
        for record in records[:5]:
            scu.request(assoc, MR, record.sop_instance_uid, sent_data(record.path))
        answers = [assoc.responses.get(timeout=30) for _ in range(5)]
        assoc.release()
    assert [answer.Status for answer in answers] == [0] * 5
    assert [answer.MessageIDBeingRespondedTo for answer in answers] == [1, 2, 3, 4, 5]
    assert len(receiving.instances()) == 5


def test_the_sites_switch_turns_the_receiver_off(receiving, scu):
    receiving.state.site["enableDicomReceiver"] = False
    with scu.associate() as assoc:
        assert not assoc.is_established
        assert not assoc.answers


def test_quiet_associations_are_ended(receiving, scu, until):
    receiving.switches.dicom_idle_seconds = 0.2
    with scu.associate() as assoc:
        assert until(lambda: assoc.is_aborted)


def test_more_associations_than_allowed_are_turned_away_for_now(receiving, scu, until):
    receiving.switches.dicom_max_associations = 1
    with scu.associate() as first:
        assert first.is_established
        with scu.associate() as second:
            assert second.answers
            answer = second.answers[0]
            assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        first.release()
    assert until(lambda: receiving.associations[0].ended)
    with scu.associate() as third:
        assert third.is_established


# storing


def test_every_sample_file_of_pydicom_arrives_with_its_data_set(receiving, scu, sent_data):
    """All sendable ones: stored, read back, head and tail compared; what is refused is refused in the negotiation."""
    import pydicom

    samples = Path(pydicom.__file__).parent / "data" / "test_files"
    expected, refused = {}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(samples.rglob("*.dcm")):
            if path.name == "SC_rgb_jpeg.dcm":
                continue  # its data set is not encoded as its transfer syntax says
            try:
                ds = pydicom.dcmread(path, stop_before_pixels=True)
                data = sent_data(path)
            except Exception:
                continue
            sop_class, uid = ds.get("SOPClassUID"), ds.get("SOPInstanceUID")
            syntax = ds.file_meta.get("TransferSyntaxUID")
            if not (sop_class and uid and syntax and ds.get("StudyInstanceUID")) or len(data) > 2_000_000:
                continue
            with scu.associate([(sop_class, [syntax])]) as assoc:
                if not assoc.is_established or not assoc.accepted_contexts:
                    refused.append((str(sop_class), str(syntax)))
                    continue
                response = scu.store(assoc, sop_class, uid, data, syntax)
                assert response.Status == 0, path
                expected[uid] = path
                assoc.release()
    stored = {entry["sop_instance_uid"]: entry["path"] for entry in receiving.instances()}
    for uid, path in expected.items():
        assert_kept(stored[uid], path)
    syntaxes = {entry["transfer_syntax"] for a in receiving.associations for entry in a.instances}
    assert len(expected) >= 30
    assert len(syntaxes) >= 6
    assert {syntax for sop_class, syntax in refused if sop_class == MR} <= {DEFLATED, HTJ2K}


def test_the_stored_file_has_a_head_of_its_own(receiving, records, scu):
    import pydicom

    with scu.associate() as assoc:
        scu.store_record(assoc, records[0])
        assoc.release()
    (entry,) = receiving.instances()
    ds = pydicom.dcmread(entry["path"])
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT
    assert ds.file_meta.MediaStorageSOPInstanceUID == records[0].sop_instance_uid == ds.SOPInstanceUID
    assert ds.file_meta.SourceApplicationEntityTitle == "TESTSCU"
    study = ds.StudyInstanceUID
    assert entry["path"].rpartition("/")[2].startswith(f"{study}-{ds.SeriesNumber}-{ds.InstanceNumber}-")


def test_the_same_instance_again_replaces_itself(receiving, records, scu):
    for _ in range(2):
        with scu.associate() as assoc:
            assert scu.store_record(assoc, records[0]).Status == 0
            assert scu.store_record(assoc, records[0]).Status == 0
            assoc.release()
    assert len(receiving.instances()) == 1


def test_the_same_instance_at_once_is_c000_with_a_comment(receiving, records, scu, until):
    receiving.switches.write_seconds = 60
    with scu.associate() as first, scu.associate() as second:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(scu.store_record(first, records[0])))
        thread.start()
        assert until(
            lambda: (
                receiving.importer.is_writing(receiving.state.prearchive[0].directory)
                if receiving.state.prearchive
                else False
            )
        )
        bad = scu.store_record(second, records[0])
        receiving.switches.write_seconds = 0
        thread.join()
    assert (bad.Status, bad.ErrorComment) == (0xC000, "Concurrent file sends of the same data is not supported.")
    assert answers[0].Status == 0
    assert len(receiving.instances()) == 1


def test_failures_are_c000_and_the_association_stays_up(receiving, records, scu):
    with scu.associate() as assoc:
        broken = scu.store(assoc, MR, "1.2.3", b"this is no data set, not even nearly " * 40)
        assert (broken.Status, broken.ErrorComment) == (0xC000, "object null contains no SOP Class UID")
        cut = scu.store(assoc, MR, "1.2.3", scu.header()[:-1])
        assert (cut.Status, cut.ErrorComment) == (0xC000, "unable to read DICOM object null")
        nameless = scu.store(assoc, MR, "1.2.3", scu.header(uid=""))
        assert nameless.ErrorComment == "object null contains no SOP Instance UID"
        receiving.switches.disk_full = True
        assert scu.store_record(assoc, records[0]).Status == 0xC000
        receiving.switches.disk_full = False
        assert scu.store_record(assoc, records[0]).Status == 0
        receiving.state.site["receivedFileUser"] = "nobody"
        assert scu.store_record(assoc, records[1]).Status == 0xA700
        assoc.release()
    assert len(receiving.instances()) == 1


def test_success_and_nothing_stored(receiving, records, scu):
    """Series filters and an anonymisation that rejects answer 0000 all the same (5.3)."""
    receiving.state.projects["DEMO"].series_filter = ("LOCALIZER",)
    receiving.switches.rejected_instances = {"1.2.3.4.6"}
    assert scu.send(StudyDescription="DEMO", SeriesDescription="LOCALIZER").Status == 0
    assert scu.send(uid="1.2.3.4.6").Status == 0
    receiving.state.series_filter = ("SCOUT.*",)
    assert scu.send(uid="1.2.3.4.7", SeriesDescription="SCOUT 1").Status == 0
    assert receiving.instances() == []
    (row,) = receiving.state.prearchive
    assert row.files == {}, "the script rejects after the row is made (xnat-import 4.1)"
    receiving.state.prearchive.clear()
    receiving.add_scp("RAW", anonymization_enabled=False)
    scu.send(uid="1.2.3.4.6", called="RAW")
    assert len(receiving.instances()) == 1


def test_many_associations_at_once_join_one_row(receiving, records, scu, sent_data, until):
    def run(share):
        with scu.associate() as assoc:
            for record in share:
                assert scu.store_record(assoc, record).Status == 0
            assoc.release()

    threads = [threading.Thread(target=run, args=(records[number::4],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receiving.state.prearchive) == 1
    stored = {entry["sop_instance_uid"]: entry["dataset_sha256"] for entry in receiving.instances()}
    assert stored == {record.sop_instance_uid: digest(sent_data(record.path)) for record in records}
    assert until(lambda: {a.ended for a in receiving.associations} == {"released"})


@pytest.mark.lab
def test_a_large_object_takes_memory_once(receiving, scu):
    """Received in pieces of a PDU and filed block by block: a few times its size, not its square."""
    import tracemalloc

    size = 48 << 20
    data = scu.header(uid="1.2.3.4.5") + b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little") + bytes(size)
    with scu.associate() as assoc:
        tracemalloc.start()
        try:
            assert scu.store(assoc, MR, "1.2.3.4.5", data).Status == 0
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assoc.release()
    assert receiving.instances()[0]["dataset_sha256"] == digest(data)
    assert peak < 8 * size


# where it lands, xnat-api 5.4


@pytest.mark.parametrize(
    ("fields", "project", "subject", "session", "auto"),
    [
        ({}, None, "", "dicom_upload", ""),
        ({"PatientComments": "Project:DEMO Subject:s1 Session:e1"}, "DEMO", "s1", "e1", "AutoArchive"),
        ({"PatientComments": "project : DEMO; SUBJECT:s1, session:e1;aa:false"}, "DEMO", "s1", "e1", "Manual"),
        ({"StudyComments": "Project:MANUAL AA:t"}, "MANUAL", "", "dicom_upload", "AutoArchive"),
        ({"AdditionalPatientHistory": "Project:MANUAL"}, "MANUAL", "", "dicom_upload", "Manual"),
        ({"PatientComments": "Project:NOWHERE", "StudyDescription": "DEMO"}, "DEMO", "", "dicom_upload", "AutoArchive"),
        ({"StudyDescription": "of DEMO", "AccessionNumber": "DEMO"}, "DEMO", "", "dicom_upload", "AutoArchive"),
        ({"PatientComments": "myProject:DEMO"}, None, "", "dicom_upload", ""),
        ({"PatientComments": "Project:DEMO."}, None, "", "dicom_upload", ""),
        ({"PatientName": "Doe^Jane", "PatientID": "id 7/x"}, None, "Doe_Jane", "id_7_x", ""),
        ({"PatientID": "p", "PatientComments": "Session:", "StudyComments": "Session:s2"}, None, "", "s2", ""),
    ],
)  # fmt: skip
def test_where_an_object_lands(receiving, fields, project, subject, session, auto, scu):
    assert scu.send(**fields).Status == 0
    (row,) = receiving.state.prearchive
    assert (row.project, row.subject, row.name, row.autoarchive) == (project, subject, session, auto)
    assert row.tag == "1.2.3"


def test_the_receiving_user_must_be_allowed_to_write_there(receiving, scu):
    receiving.state.site["receivedFileUser"] = "bob"
    scu.send(StudyDescription="DEMO")
    assert receiving.state.prearchive[0].project is None


def test_dynamic_rules_go_before_the_fixed_ones(receiving, scu):
    from xnatctl_sandbox.world.routing_expressions import RoutingExpressions

    receiving.state.routing = RoutingExpressions(session=r"(0008,0050):.*")
    rules = RoutingExpressions(project=r"(0008,1030):(\w+) of .*:1", subject="(0010,0020):A(.*):1")
    receiving.add_scp("RULES", routing=rules, routing_enabled=True)
    scu.send(called="RULES", StudyDescription="DEMO of x", PatientID="A7", AccessionNumber="acc/1")
    (row,) = receiving.state.prearchive
    assert (row.project, row.subject, row.name) == ("DEMO", "7", "acc_1")
    with pytest.raises(ValueError, match="not a routing expression"):
        RoutingExpressions(project="StudyDescription")


def test_a_direct_archive_receiver(receiving, http_call, scu, until):
    receiving.add_scp("DIRECT", direct_archive=True)
    scu.send(called="DIRECT", PatientComments="Project:DEMO Subject:s Session:e")
    uri = "/xapi/direct-archive/DEMO/1.2.3/e"
    assert http_call("GET", uri).json["status"] == "RECEIVING"
    assert http_call("POST", uri).status == 200
    assert until(lambda: http_call("GET", uri).status == 404)
    scu.send(called="DIRECT", uid="1.2.3.4.6", PatientComments="Project:DEMO Subject:s Session:e")
    assert [row.name for row in receiving.state.prearchive] == ["e"], "a second send goes to the prearchive"


def test_from_the_receiver_to_the_archive(receiving, records, http_call, scu):
    with scu.associate() as assoc:
        for record in records:
            scu.store_record(assoc, record)
        assoc.release()
    assert http_call("GET", "/data/prearchive/projects/DEMO").rows == [], "Unassigned is for administrators"
    (row,) = http_call("GET", "/data/prearchive", user="admin").rows
    assert (row["project"], row["status"], row["prevent_auto_commit"]) == ("Unassigned", "RECEIVING", "")
    scu.send(uid="1.2.9", PatientComments="Project:DEMO Subject:s Session:e")
    (row,) = http_call("GET", "/data/prearchive/projects/DEMO").rows
    assert (row["tag"], row["name"], row["subject"], row["status"]) == ("1.2.3", "e", "s", "RECEIVING")
    receiving.advance_clock(301)
    receiving.tick()
    query = {"studyInstanceUID": "1.2.3", "columns": "ID,label,UID,subject_label"}
    (found,) = http_call("GET", "/data/projects/DEMO/experiments", query=query).rows
    assert (found["label"], found["subject_label"], found["UID"]) == ("e", "s", "1.2.3")


# discovery, xnat-api 5.1


def test_receivers_are_listed_for_any_user(receiving, http_call):
    (scp,) = http_call("GET", "/xapi/dicomscp", user="bob").json
    assert (scp["aeTitle"], scp["port"], scp["whitelistEnabled"]) == ("XNAT", receiving.dicom_port, False)
    assert "host" not in scp
    assert http_call("GET", "/xapi/dicomscp/identifiers", user="bob").json == ["dicomObjectIdentifier"]
    assert http_call("GET", f"/xapi/dicomscp/{scp['id']}", user="bob").status == 403
    assert http_call("GET", f"/xapi/dicomscp/{scp['id']}", user="admin").json == scp
    assert http_call("GET", "/xapi/siteConfig/enableDicomReceiver", user="bob").text == "true"


def test_a_sandbox_remembers_its_receivers(receiving, tmp_path):
    from xnatctl_sandbox.world.persistence import load, save
    from xnatctl_sandbox.world.state import State

    receiving.add_scp("GUARDED", whitelist_enabled=True, whitelist=("A", "10.0.0.0/8"))
    save(receiving.state)
    again = State(receiving.directory)
    load(again)
    assert again.scps == receiving.state.scps


def test_two_sandboxes_cannot_share_a_port(receiving):
    from xnatctl_sandbox.server import Sandbox
    from xnatctl_sandbox.world.errors import PortUnavailable

    with pytest.raises(PortUnavailable, match=str(receiving.dicom_port)):
        Sandbox(dicom_port=receiving.dicom_port)


# dcmtk's tools


def dcmtk(name, *arguments):
    environment = {**os.environ, "TCP_NODELAY": "1"}
    program = system_program(name)
    assert program is not None, "apt-get install dcmtk"
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


@needs_dcmtk
def test_dcmtk_echoes_and_is_told_why_not(receiving):
    assert dcmtk("echoscu", "-aec", "XNAT", "127.0.0.1", receiving.dicom_port).returncode == 0
    refused = dcmtk("echoscu", "-aec", "WRONG", "127.0.0.1", receiving.dicom_port)
    assert refused.returncode != 0
    assert "Called AE Title Not Recognized" in refused.stderr


@needs_dcmtk
def test_dcmtk_stores_an_exam(receiving, exam, sent_data):
    done = dcmtk("storescu", "-aec", "XNAT", "+sd", "+r", "127.0.0.1", receiving.dicom_port, exam.directory)
    assert done.returncode == 0, done.stderr
    stored = {entry["sop_instance_uid"]: entry["dataset_sha256"] for entry in receiving.instances()}
    assert stored == {r.sop_instance_uid: digest(sent_data(r.path)) for r in exam.instances.values()}
