"""The plan of several paths: compared with the disk as a whole, by core and when it was stored and read again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from xnatctl.delivery.opening import journal_path
from xnatctl.delivery.plan_check import check_plan
from xnatctl.delivery.planning import plan_session_upload
from xnatctl.delivery.relisting import source_changes
from xnatctl.errors import Refused
from xnatctl.model.plan import UploadPlan, UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.testing import write_exam


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=3, instances=3, seed=2, clutter=False)


@pytest.fixture
def request_(exam):
    paths = tuple(str(exam.directory / f"series {number}") for number in (3, 1))
    where = Destination(server="http://xnat", project="DEMO", subject="s", session="e")
    return UploadRequest(
        command="session upload", path=paths[0], sources=paths, destination=where, transport="tar", workers=2
    )


def test_a_plan_survives_being_stored(exam, request_):
    plan = replace(plan_session_upload(request_), request=request_)
    again = UploadPlan.from_document(json.loads(json.dumps(plan.as_document())))
    assert again == replace(plan, stages=again.stages)
    assert [*again.items] == [*plan.items]
    assert again.paths == (str(exam.directory / "series 1"), str(exam.directory / "series 3"))
    assert again.request.paths == request_.paths


def test_a_plan_for_the_first_path_alone_is_refused(request_):
    own = plan_session_upload(request_)
    first = plan_session_upload(replace(request_, sources=()))
    with pytest.raises(Refused, match="leaves out"):
        check_plan(first, own, request_, "it")
    assert check_plan(replace(own, sources=(), root="/", listing=""), own, request_, "it") == own


def test_all_paths_are_compared_again(exam, request_):
    plan = plan_session_upload(request_)
    some = next((exam.directory / "series 2").iterdir())
    shutil.copy(some, exam.directory / "new")  # beside the paths
    assert source_changes(plan).others == []
    for number in (1, 3):
        shutil.copy(some, exam.directory / f"series {number}" / "new")
    assert source_changes(plan).others == ["series 1/new", "series 3/new"]


def test_uploads_to_a_receiver_differ_by_their_paths_and_not_by_their_order(request_, tmp_path):
    def name(*numbers):
        paths = tuple(request_.path.replace("series 3", f"series {number}") for number in numbers)
        asked = replace(request_, path=paths[0], sources=paths if len(paths) > 1 else (), settles=False)
        return journal_path(plan_session_upload(asked), tmp_path, lambda name, options: "address")

    assert name(1, 3) == name(3, 1) == name(3, 1, 3)
    assert len({name(1, 3), name(1, 2), name(1, 2, 3), name(1), name(3)}) == 5
    assert name(1, 1) == name(1)
