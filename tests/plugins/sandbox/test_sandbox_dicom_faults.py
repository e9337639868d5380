"""Scripted trouble at the DICOM Receiver: every kind once, seen from a sender."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.once

MR, EXPLICIT, IMPLICIT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@pytest.fixture
def records(exam):
    return list(exam.instances.values())


def stored(sandbox):
    return {entry["sop_instance_uid"] for entry in sandbox.instances()}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("called-ae", (1, 1, 7)), ("calling-ae", (1, 1, 3)), ("too-many", (2, 3, 2)), ("congestion", (2, 3, 1)), ("no-reason", (1, 1, 1))],
)  # fmt: skip
def test_reject(receiving, scu, reason, expected):
    receiving.dicom_faults.load([{"action": "reject", "reason": reason, "nth": 1}])
    with scu.associate() as assoc:
        assert assoc.answers
        answer = assoc.answers[0]
        assert (answer.result, answer.result_source, answer.diagnostic) == expected
    with scu.associate() as assoc:
        assert assoc.is_established


def test_rules_match_by_ae_title(receiving, scu):
    receiving.dicom_faults.load([{"action": "reject", "match": {"calling": "^BAD$"}}])
    with scu.associate(calling="BAD") as bad, scu.associate(calling="GOOD") as good:
        assert bad.answers
        assert good.is_established


def test_refuse_contexts(receiving, scu):
    offers = [(MR, [EXPLICIT]), (MR, [IMPLICIT]), ("1.2.840.10008.5.1.4.1.1.2", [EXPLICIT])]
    receiving.dicom_faults.load([{"action": "refuse-contexts", "transfer_syntaxes": r"\.1\.2\.1$", "nth": 1}])
    with scu.associate(offers) as assoc:
        assert [cx.context_id for cx in assoc.accepted_contexts] == [3]
        assert [cx.result for cx in assoc.rejected_contexts] == [4, 4]
    receiving.dicom_faults.load([{"action": "refuse-contexts", "sop_classes": r"\.1\.1\.2$"}])
    with scu.associate(offers) as assoc:
        assert [cx.context_id for cx in assoc.accepted_contexts] == [1, 3]
        assert [cx.result for cx in assoc.rejected_contexts] == [3]


@pytest.mark.parametrize("reset", [True, False])
def test_cut_request(receiving, scu, reset):
    receiving.dicom_faults.load([{"action": "cut-request", "reset": reset, "nth": 1}])
    with scu.associate() as assoc:
        assert not assoc.is_established
        assert not assoc.answers


def test_ignore_request(receiving, scu, until):
    receiving.dicom_faults.load([{"action": "ignore-request"}])
    with scu.associate(timeout=0.3) as assoc:
        assert not assoc.is_established
        assert assoc.answers == []


@pytest.mark.parametrize("how", ["abort", "close"])
def test_close_idle(receiving, scu, records, until, how):
    receiving.dicom_faults.load([{"action": "close-idle", "seconds": 0.2, "how": how, "nth": 1}])
    with scu.associate() as assoc:
        assert until(lambda: assoc.is_aborted)
    with scu.associate() as assoc:
        assert scu.store_record(assoc, records[0]).Status == 0
        assoc.release()
    assert stored(receiving) == {records[0].sop_instance_uid}


@pytest.mark.parametrize(("status", "there"), [(0xB000, True), (0xB007, True), (0xA700, False), (0xC000, False), (0x0122, False)])  # fmt: skip
def test_status(receiving, scu, records, status, there):
    receiving.dicom_faults.load([{"action": "status", "status": status, "comment": "as scripted", "nth": 2}])
    with scu.associate() as assoc:
        answers = [scu.store_record(assoc, record) for record in records[:3]]
        assoc.release()
    assert [answer.Status for answer in answers] == [0, status, 0]
    assert answers[1].ErrorComment == "as scripted"
    assert (records[1].sop_instance_uid in stored(receiving)) is there
    assert [entry["status"] for entry in receiving.associations[0].instances] == [0, status, 0]


def test_status_and_stored_all_the_same(receiving, scu, records):
    receiving.dicom_faults.load([{"action": "status", "status": 0xC000, "store": True}])
    with scu.associate() as assoc:
        assert scu.store_record(assoc, records[0]).Status == 0xC000
    assert stored(receiving) == {records[0].sop_instance_uid}


@pytest.mark.parametrize("action", ["abort", "cut", "store-then-abort", "store-then-cut"])
def test_ended_in_the_middle(receiving, scu, records, until, action):
    receiving.dicom_faults.load([{"action": action, "nth": 3}])
    with scu.associate() as assoc:
        for record in records[:2]:
            assert scu.store_record(assoc, record).Status == 0
        assert scu.store_record(assoc, records[2]) is None
        assert until(lambda: assoc.is_aborted)
    assert until(lambda: receiving.associations[0].ended == ("cut" if "cut" in action else "aborted"))
    assert receiving.associations[0].instances[2]["status"] is None
    sent = 3 if action.startswith("store") else 2
    assert stored(receiving) == {record.sop_instance_uid for record in records[:sent]}


def test_counted_in_each_association_apart(receiving, scu, records):
    receiving.dicom_faults.load([{"action": "abort", "nth": 2, "per": "association"}])
    for number in range(2):
        with scu.associate() as assoc:
            assert scu.store_record(assoc, records[2 * number]).Status == 0
            assert scu.store_record(assoc, records[2 * number + 1]) is None
    assert len(stored(receiving)) == 2


@pytest.mark.parametrize("action", ["hold", "store-then-hold"])
def test_no_answer(receiving, scu, records, action):
    receiving.dicom_faults.load([{"action": action}])
    with scu.associate() as assoc:
        assoc.dimse_timeout = 0.4
        assert scu.store_record(assoc, records[0]) is None
    assert bool(stored(receiving)) is (action == "store-then-hold")


def test_stopping_does_not_wait_for_what_is_held(tmp_path, exam, records):
    """The sandbox ends although an answer is held back for an hour."""
    import threading

    from xnatctl_sandbox.server import Sandbox

    with Sandbox(tmp_path / "other", dicom_port=0) as sandbox:
        from pynetdicom import AE

        sandbox.dicom_faults.load([{"action": "ignore-request", "seconds": 3600}])
        ae = AE()
        ae.add_requested_context(MR)
        thread = threading.Thread(target=ae.associate, args=("127.0.0.1", sandbox.dicom_port), daemon=True)
        thread.start()
        while not sandbox.associations:
            pass
    thread.join(30)
    assert not thread.is_alive()


def test_delay(receiving, scu, records):
    receiving.dicom_faults.load([{"action": "delay", "seconds": 0.2}])
    with scu.associate() as assoc:
        assert scu.store_record(assoc, records[0]).Status == 0


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"action": "explode"}, "Unknown fault 'explode'"),
        ({"action": "abort", "seconds": 3}, "The fault abort has no field seconds"),
        ({"action": "abort", "match": {"path": "x"}}, "A rule cannot match path"),
    ],
)
def test_a_script_with_a_mistake_is_refused(receiving, http_call, rule, complaint):
    with pytest.raises(ValueError, match=complaint):
        receiving.dicom_faults.load([rule])
    answer = http_call("POST", "/sandbox/dicom-faults", user=None, body=json.dumps([rule]), kind="application/json")
    assert (answer.status, complaint in answer.text) == (400, True)
    assert (
        http_call("POST", "/sandbox/faults", user=None, body='[{"action": "explode"}]', kind="application/json").status
        == 400
    )


def test_by_http_and_told_by_http(receiving, scu, records, http_call, until):
    script = json.dumps([{"action": "status", "status": 0xB000}])
    assert http_call("POST", "/sandbox/dicom-faults", user=None, body=script, kind="application/json").status == 200
    with scu.associate(calling="SOMEBODY") as assoc:
        assert scu.store_record(assoc, records[0]).Status == 0xB000
        assoc.release()
    assert until(lambda: http_call("GET", "/sandbox/associations", user=None).json[0]["ended"] == "released")
    (told,) = http_call("GET", "/sandbox/associations", user=None).json
    assert (told["calling"], told["called"], told["address"]) == ("SOMEBODY", "XNAT", "127.0.0.1")
    assert told["contexts"] == [{"id": 1, "sop_class": MR, "result": 0, "transfer_syntax": EXPLICIT}]
    assert told["instances"][0] == {
        "sop_instance_uid": records[0].sop_instance_uid, "sop_class_uid": MR, "transfer_syntax": EXPLICIT,
        "status": 0xB000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "body", "status", "words"),
    [
        ("text/plain", "[]", 415, "Content-Type: application/json"),
        (None, "[]", 415, "Content-Type: application/json"),
        ("application/json", "[", 400, "not JSON"),
        ("application/json", "{}", 400, "list"),
        ("application/json", "[1]", 400, "list"),
        ("application/json", '[{"action": "delay", "seconds": "long"}]', 400, "seconds"),
        ("application/json", '[{"action": "delay", "match": {"WHAT": "("}}]', 400, "regular expression"),
    ],
)
@pytest.mark.parametrize("script", ["faults", "dicom-faults"])
def test_a_script_that_is_none_is_refused_in_words(http_call, script, kind, body, status, words):
    body = body.replace("WHAT", "path" if script == "faults" else "calling")
    answer = http_call("POST", f"/sandbox/{script}", user=None, body=body, kind=kind)
    assert (answer.status, words in answer.text) == (status, True), answer.text


def test_a_status_that_is_no_number_is_no_status(http_call, sandbox):
    with pytest.raises(ValueError, match="status of the fault status must be a number"):
        sandbox.dicom_faults.load([{"action": "status", "status": "A700"}])


@pytest.mark.parametrize(("kind", "body", "status"), [("text/plain", "{}", 415), ("application/json", "[]", 400)])
def test_switches_that_are_none_are_refused_in_words(http_call, kind, body, status):
    assert http_call("POST", "/sandbox/switches", user=None, body=body, kind=kind).status == status
