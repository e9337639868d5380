"""Faults of what lies between client and server: shortened objects, echoed secrets, answers without an end."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

LISTING = {"path": "/data/projects$"}


@pytest.fixture
def records(exam):
    return list(exam.instances.values())


@pytest.mark.parametrize(("count", "left"), [(2000, 2000), (-1, None)])
def test_objects_are_shortened_on_the_way_and_the_answer_is_200(import_, sandbox, records, count, left):
    wanted = records[0].sop_instance_uid.replace(".", r"\.")
    sandbox.faults.load(
        [
            {
                "match": {"path": "services/import"},
                "action": "truncate-file",
                "members": wanted,
                "bytes": count,
                "times": 1,
            }
        ]
    )
    assert import_(records).status == 200
    sizes = {e["sop_instance_uid"]: Path(e["path"]).stat().st_size for e in sandbox.instances()}
    assert sizes.pop(records[0].sop_instance_uid) == (left or records[0].size - 1)
    assert sizes == {r.sop_instance_uid: r.size for r in records[1:]}
    assert import_(records).status == 200, "once only"
    assert {Path(e["path"]).stat().st_size for e in sandbox.instances()} == {r.size for r in records}


def test_an_object_is_lost_on_the_way(import_, sandbox, records, http_call):
    sandbox.faults.load([{"match": {"query": "gradual"}, "action": "lose-file", "nth": 2}])
    query = {"import-handler": "gradual-DICOM", "PROJECT_ID": "DEMO", "EXPT_LABEL": "e", "rename": "true"}
    for record in records:
        body = record.path.read_bytes()
        answer = http_call("POST", "/data/services/import", query=query, body=body, kind="application/dicom")
        assert answer.text.startswith("/data/prearchive/")
    assert len(sandbox.instances()) == len(records) - 1


def test_the_receiver_can_shorten_objects_too(receiving, scu, records, sent_data):
    receiving.dicom_faults.load([{"action": "truncate", "nth": 1, "bytes": -7}])
    with scu.associate() as assoc:
        assert [scu.store_record(assoc, record).Status for record in records[:2]] == [0, 0]
        assoc.release()
    stored = {e["sop_instance_uid"]: Path(e["path"]).read_bytes() for e in receiving.instances()}
    assert stored[records[0].sop_instance_uid].endswith(sent_data(records[0].path)[-100:-7])
    assert stored[records[1].sop_instance_uid].endswith(sent_data(records[1].path))


@pytest.mark.parametrize("where", ["body", "headers", "both"])
def test_secrets_are_echoed(http_call, sandbox, where):
    sandbox.faults.load([{"match": {"path": "services/auth"}, "action": "echo", "status": 418, "where": where}])
    form = "application/x-www-form-urlencoded"
    answer = http_call(
        "PUT",
        "/data/services/auth",
        body="username=alice&password=s3cret",
        kind=form,
        headers={"Cookie": "JSESSIONID=abc"},
    )
    assert answer.status == 418
    said = {"body": answer.text, "headers": str(answer.headers)}
    for place, content in said.items():
        assert ("Basic YWxpY2U6YWxpY2U=" in content) == (where in (place, "both"))
        assert ("JSESSIONID=abc" in content) == (where in (place, "both"))
    assert ("password=s3cret" in answer.text) == (where != "headers")


@pytest.mark.parametrize(
    "location", ["http://[", "::::", "http://exa mple/\x01", "ü日", "", "x" * 20000, "http://h:99999999/"]
)
def test_a_location_goes_out_as_it_is(sandbox, location):
    sandbox.faults.load([{"action": "redirect", "status": 301, "location": location}])
    target = urlsplit(sandbox.url)
    with socket.create_connection((target.hostname, target.port), 30) as connection:
        connection.sendall(b"GET /data/projects HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 301")
    assert b"\r\nLocation: " + location.encode() + b"\r\n" in answer


def test_json_that_is_nested_numbers_without_end_and_listings_of_any_length(http_call, sandbox):
    sandbox.faults.load(
        [
            {"match": LISTING, "nth": 1, "action": "flood", "unit": "[", "count": 100000},
            {"match": LISTING, "nth": 1, "action": "flood", "head": '{"n":', "unit": "9", "count": 5000, "tail": "}"},
            {
                "match": LISTING, "nth": 1, "action": "flood", "head": '{"ResultSet":{"Result":[{"ID":"-"}',
                "unit": ',{"ID":"{n}"}', "count": 20000, "tail": "]}}",
            },
            {"match": LISTING, "nth": 1, "action": "flood", "type": "text/xml", "status": 203, "head": "<", "count": 0},
        ]
    )  # fmt: skip
    assert http_call("GET", "/data/projects").body == b"[" * 100000
    assert http_call("GET", "/data/projects").text == '{"n":' + "9" * 5000 + "}"
    assert [row["ID"] for row in http_call("GET", "/data/projects").rows] == ["-", *map(str, range(20000))]
    answer = http_call("GET", "/data/projects")
    assert (answer.status, answer.headers["Content-Type"], answer.text) == (203, "text/xml", "<")
    assert len(http_call("GET", "/data/projects").rows) == 2, "and then the server itself"


def test_an_answer_without_end_ends_with_its_reader_or_with_the_faults(sandbox, until):
    sandbox.faults.load([{"match": LISTING, "action": "flood", "head": '{"a":"', "unit": "x"}])
    target = urlsplit(sandbox.url)
    for end in ("reader", "faults"):
        with socket.create_connection((target.hostname, target.port), 30) as connection:
            connection.sendall(b"GET /data/projects HTTP/1.1\r\nHost: x\r\n\r\n")
            received = 0
            while received < 5_000_000:
                received += len(connection.recv(1 << 20))
            if end == "faults":
                sandbox.faults.end()
                while not connection.recv(1 << 20).endswith(b"0\r\n\r\n"):
                    pass
        assert until(sandbox.is_quiet)


def test_mistakes_in_such_rules_are_said(http_call):
    for rule in (
        {"action": "flood", "count": "many"},
        {"action": "echo", "where": "nowhere"},
        {"action": "echo", "unit": "x"},
    ):
        answer = http_call("POST", "/sandbox/faults", body=json.dumps([rule]), kind="application/json")
        assert answer.status == 400


def test_scripts_are_checked_when_they_are_switched_on(http_call, sandbox):
    for values in (
        {"site_script": {"NoSuchThing": "x"}}, {"project_scripts": {"DEMO": {"PatientName": 5}}}, {"site_script": "x"},
        {"project_scripts": ["DEMO"]}, {"project_scripts": {"DEMO": "x"}},
    ):  # fmt: skip
        answer = http_call("POST", "/sandbox/switches", body=json.dumps(values), kind="application/json")
        assert answer.status == 400
    values = {"site_script": {"PatientName": "x", "PatientID": None}, "rewrites_heads": False}
    assert http_call("POST", "/sandbox/switches", body=json.dumps(values), kind="application/json").status == 200
    assert sandbox.switches.site_script == {"PatientName": "x", "PatientID": None}
