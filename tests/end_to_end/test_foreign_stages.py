"""A stage or a planner of somebody else cannot make the command say more than is true."""

from __future__ import annotations

import pytest

UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e", "-o", "json")

STAGE = """
from dataclasses import replace
from xnatctl.api import *
from xnatctl.api.commands import plan_session_upload

@hookimpl
def xnatctl_stages():
    return [StageSpec(name="odd", summary="odd", target="dist_odd_odd:Odd", server=False, {spec})]

@hookimpl
def xnatctl_plan_upload(request):
    plan = plan_session_upload(request)
    odd = Stage(kind="odd", name="do something odd")
    return replace(plan, stages=({order}))

def locate(client, plan):
    sends = plan.stages[1]
    return replace(plan, stages=(replace(sends, items=sends.items[:2]),)), None

class Odd:
    def __init__(self, context, stage):
        self.context = context
    def check(self):
        pass
    def run(self):
        {run}
    def give_up(self):
        pass
"""


@pytest.fixture
def upload(xnatctl, alice, install, exam):
    """Upload with a stage whose `run` is this line."""

    def run(line="pass", *, spec="", order="odd, *plan.stages"):
        env = install("odd", STAGE.format(run=line, spec=spec, order=order))
        return xnatctl("session", "upload", exam.directory, *UPLOAD, env={**alice, **env})

    return run


def test_what_locates_a_plan_changes_nothing_but_its_destination(upload, sandbox, exam, assert_exactly):
    done = upload(spec="locate='dist_odd_odd:locate'")
    assert done.code == 0, done.err
    assert done.document["counts"]["verified"] == len(exam.digests)
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("self.context.go_to(replace(self.context.plan.destination, session='other'))", 7),
        ("self.context.plan = replace(self.context.plan, stages=())", 8),
    ],
)
def test_a_stage_cannot_lead_the_session_elsewhere(upload, sandbox, line, code):
    done = upload(line)
    assert done.code == code, done.err
    assert not sandbox.instances()


def test_an_error_that_a_stage_writes_into_the_report_ends_the_run(upload, sandbox, exam, assert_exactly):
    done = upload("self.context.report.failure = UsageError('It cannot be told.')", order="*plan.stages, odd")
    assert (done.code, done.document["status"]) == (6, "partial"), done.err
    assert "It cannot be told." in done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


@pytest.mark.parametrize("transport", ["cstore", "resource"])
def test_a_transport_that_delivers_elsewhere_is_refused(upload, sandbox, transport):
    done = upload(order=f"odd, replace(plan.stages[0], transport='{transport}'),")
    assert done.code == 7, done.err
    assert f"sends by {transport}" in done.document["error"]["message"]
    assert not sandbox.requests


def test_a_stage_cannot_turn_off_what_another_stage_proves(upload, sandbox, exam, assert_exactly):
    done = upload("self.context.plan.stages[1].options['verify'] = False")
    assert done.code == 0, done.err
    assert done.document["verification"]["ok"] is True
    assert done.document["counts"]["verified"] == len(exam.digests)
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
