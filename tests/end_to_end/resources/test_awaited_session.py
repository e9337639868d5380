"""Resources of an exam wait for their session in the archive, and go to no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from running import run_in, services

from xnatctl.api import (
    DeliveryIncomplete,
    NotArchived,
    Password,
    PermissionDenied,
    Stage,
    VerificationFailed,
)
from xnatctl.model.events import EventKind
from xnatctl.model.plan import Placement
from xnatctl.xnat import prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl_resource.stage import ResourceGroup
from xnatctl_resource.transport import ResourceTransport

LATER = "xnatctl session upload-exam EXAM --attach-only"


def test_waiting_ends_with_the_command_that_finishes_the_job(
    make_plan, dicom, files, carry_out, sandbox, on_disk, client
):
    """In the prearchive for review; archived by hand; then the resources alone."""
    wait = Stage(kind="await-archive", name="wait", options={"seconds": 0, "later": LATER})
    stages = (*dicom(placement=Placement.PREARCHIVE), wait, *files("Physio"))
    run, error = carry_out(make_plan(*stages, placement=Placement.PREARCHIVE))
    assert isinstance(error, NotArchived)
    assert "READY in the prearchive" in error.message
    assert "Its resources (3 files) were not attached" in error.message
    assert error.hint == f"When it is archived, run: {LATER}"
    assert run.report.next == [
        next(command for command in run.report.next if command.startswith("xnatctl prearchive archive DEMO")),
        LATER,
    ]
    assert (run.report.state, run.report.counts.sent) == ("prearchive", 8)

    def archive(event):
        """Somebody archives it while we wait."""
        if event.kind is EventKind.SETTLING and event.data.get("state") == "waiting" and sandbox.state.prearchive:
            (row,) = prearchive.list_rows(client, "DEMO")
            prearchive.commit(client, row.ref)

    alone = replace(wait, options={"seconds": 60, "later": LATER})
    again, error = carry_out(make_plan(alone, *files("Physio")), tell=archive)
    assert error is None
    assert len(on_disk("Physio")) == 3
    assert again.report.state == "archived"


def test_an_older_session_of_the_same_label_is_not_the_one_waited_for(
    make_plan, dicom, files, carry_out, sandbox, session, client
):
    """Something of that label is in the archive, and this study is still in the prearchive (xnat-import 4)."""
    study = dicom()[0].items[0].study_instance_uid
    waiting = dicom(placement=Placement.PREARCHIVE)
    assert carry_out(make_plan(*waiting, placement=Placement.PREARCHIVE))[1] is None
    assert prearchive.list_rows(client, "DEMO")[0].tag == study
    wait = Stage(kind="await-archive", name="wait", options={"seconds": 0, "study_instance_uid": study})
    _, error = carry_out(make_plan(wait, *files("Physio")))
    assert isinstance(error, NotArchived)
    assert list((sandbox.directory / "archive").rglob("Physio")) == []


@pytest.mark.parametrize("meanwhile", ["taken", "deleted"])
def test_resources_go_to_the_session_that_was_compared_and_never_to_its_label(
    make_plan, dicom, files, carry_out, sandbox, server, monkeypatch, meanwhile
):
    """Between the comparison and the attaching the session gets another label, and another session takes the old one."""
    wait = Stage(kind="await-archive", name="wait")
    attach = ResourceGroup.run

    def late(group):
        (session,) = sandbox.state.experiments.values()
        if meanwhile == "deleted":
            sandbox.remove_experiment(session)
        session.label = "renamed"
        server.call("PUT", "/data/projects/DEMO/subjects/s/experiments/e", xsiType="xnat:mrSessionData")
        attach(group)

    monkeypatch.setattr(ResourceGroup, "run", late)
    _, error = carry_out(make_plan(*dicom(), wait, *files("Physio")))
    labels = {session.label: session for session in sandbox.state.experiments.values()}
    assert labels["e"].resources == []
    if meanwhile == "deleted":
        assert isinstance(error, DeliveryIncomplete), "images were sent"
    else:
        assert error is None
        assert [resource.label for resource in labels["renamed"].resources] == ["Physio"]


def test_nothing_is_attached_to_a_session_that_holds_none_of_the_images(make_plan, dicom, files, carry_out, sandbox):
    """Anonymisation changed the UIDs, or it is another session."""
    sandbox.switches.remap_uids = True
    wait = Stage(kind="await-archive", name="wait", options={"later": LATER})
    run, error = carry_out(make_plan(*dicom(), wait, *files("Physio")))
    assert isinstance(error, VerificationFailed)
    assert "were not attached" in error.message
    (session,) = sandbox.state.experiments.values()
    assert session.resources == []
    trusted = replace(wait, options={**wait.options, "trust_session": True})
    assert run.report.next[1:] == [f"{LATER} --trust-session"]
    _, error = carry_out(make_plan(*dicom(), trusted, *files("Physio")))
    assert isinstance(error, VerificationFailed), "the images are not proven all the same"
    assert [resource.label for resource in session.resources] == ["Physio"]


def test_nobody_waits_for_what_may_not_be_written(make_plan, files, session, sandbox, tmp_path):
    with XnatClient(sandbox.url) as reader:
        reader.login(lambda: Password(username="bob", secret="bob"))
        wait = Stage(kind="await-archive", name="wait", options={"seconds": 900})
        made = services({"resource": ResourceTransport}, tmp_path)
        _, error = run_in(make_plan(wait, *files("Physio")), made, client=reader)
        assert isinstance(error, PermissionDenied)
