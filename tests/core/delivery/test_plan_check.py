"""What core finds wrong with the plan of a third-party planner, before anything is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xnatctl.delivery.plan_check import check_plan
from xnatctl.delivery.planning import plan_session_upload
from xnatctl.errors import Refused
from xnatctl.model.plan import Exclusion, UploadPlan, UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.testing import write_exam


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    exam = write_exam(tmp_path_factory.mktemp("exam") / "exam", series=1, instances=3, seed=2, clutter=False)
    where = Destination(server="http://xnat", project="DEMO", subject="s", session="e")
    return UploadRequest(
        command="session upload", path=str(exam.directory), destination=where, transport="tar", workers=2
    )


@pytest.fixture(scope="module")
def own(request_):
    return plan_session_upload(request_)


def _with(plan, **changes):
    return replace(plan, stages=(replace(plan.stages[0], **changes),))


def _without(plan, number, reason):
    items = plan.stages[0].items
    left = tuple(Exclusion(path=item.path, reason=reason) for item in items[number:])
    return replace(_with(plan, items=items[:number]), excluded=left)


def test_the_plan_of_core_is_what_was_asked_for(own, request_):
    assert check_plan(own, own, request_, "it") == own
    assert check_plan(_without(own, 1, "not wanted"), own, request_, "it").items == own.items[:1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda plan: _without(plan, 1, " "), "without a reason"),
        (lambda plan: _without(plan, 0, "not wanted"), "sends nothing"),
    ],
)
def test_a_plan_that_loses_files_is_refused(own, request_, change, said):
    with pytest.raises(Refused, match=said):
        check_plan(change(own), own, request_, "it")


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: replace(plan, workers=0),
        lambda plan: replace(plan, workers="4"),
        lambda plan: replace(plan, warnings=(None,)),
        lambda plan: replace(plan, stages=(stage for stage in plan.stages)),
        lambda plan: _with(plan, items=(item for item in plan.items)),
        lambda plan: _with(plan, items=(replace(plan.items[0], stamp=b"x"), *plan.items[1:])),
        lambda plan: _with(plan, options={**plan.stages[0].options, "more": object()}),
    ],
)
def test_a_plan_that_is_not_made_as_plans_are_is_a_failure_of_its_planner(own, request_, change):
    """The guard turns what is raised here into an error that names the planner."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever looking at it raises
        check_plan(change(own), own, request_, "it")
    assert not isinstance(caught.value, Refused)


@pytest.mark.parametrize(("place", "name"), [("plan", "stages"), ("stage", "items"), ("item", "inode")])
@pytest.mark.parametrize("missing", [True, False])
def test_a_document_that_is_no_plan_says_so(own, place, name, missing):
    document = own.as_document()
    stage = document["stages"][0]
    at = {"plan": document, "stage": stage, "item": stage["items"][0]}[place]
    if missing:
        del at[name]
    else:
        at[name] = None
    with pytest.raises((ValueError, TypeError)):
        UploadPlan.from_document(document)
