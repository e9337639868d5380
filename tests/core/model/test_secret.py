"""The value of a secret option is text for whoever uses it, and a mask wherever it is recorded."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from xnatctl.delivery.service import deliver
from xnatctl.delivery.services import Services
from xnatctl.errors import UsageError
from xnatctl.model.plan import RECEIVER, Overwrite, Placement, Stage, UploadPlan, UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.model.secret import Secret, masked, public

CANARY = "c4n4ry"
HERE = Destination(server="site:1", project="", subject="", session="")
REQUEST = UploadRequest(
    command="session upload",
    path="p",
    destination=HERE,
    transport="site",
    workers=1,
    options={"token": Secret(CANARY), "to": "x"},
)


def test_it_is_text_for_whoever_uses_it():
    for secret in (Secret(CANARY), copy.deepcopy(Secret(CANARY)), pickle.loads(pickle.dumps(Secret(CANARY)))):
        assert (secret, f"Bearer {secret}", type(secret)) == (CANARY, f"Bearer {CANARY}", Secret)
        assert repr({"token": secret}) == "{'token': '[secret]'}"


def test_it_is_masked_however_deep():
    found = masked({"a": [{"b": (Secret(CANARY), 1)}], "c": "plain"})
    assert found == {"a": [{"b": ("[secret]", 1)}], "c": "plain"}
    assert public({"token": Secret(CANARY), "recorded": "[secret]", "to": "x"}) == {"to": "x"}


def plan_of(options):
    stage = Stage(kind=RECEIVER, name="send", transport="site", items=(), transport_options=options)
    return UploadPlan(
        command="session upload", root="p", destination=HERE, workers=1, placement=Placement.ARCHIVE,
        overwrite=Overwrite.NONE, stages=(stage,), request=REQUEST,
    )  # fmt: skip


def test_documents_of_requests_and_plans_mask_it():
    for document in (REQUEST.as_document(), plan_of(REQUEST.options).as_document()):
        text = json.dumps(document)
        assert CANARY not in text
        assert '"token": "[secret]"' in text
    assert REQUEST.options["token"] == CANARY, "the request itself is unchanged"


def test_a_plan_that_was_read_again_is_not_delivered_without_it(tmp_path):
    again = UploadPlan.from_document(json.loads(json.dumps(plan_of(REQUEST.options).as_document())))
    services = Services(
        transport=pytest.fail,
        stage=pytest.fail,
        address=pytest.fail,
        journals=tmp_path,
        connect=pytest.fail,
        tell=print,
    )
    report = deliver(again, services)
    assert isinstance(report.failure, UsageError)
    assert "secret option token of transport site" in report.failure.message
