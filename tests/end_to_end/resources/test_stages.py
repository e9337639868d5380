"""Plans of several stages: a session and resources side by side; each on its own, in one report."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from xnatctl.api import (
    DeliveryIncomplete,
    Refused,
    ResourceLevel,
    Stage,
    UsageError,
    VerificationFailed,
)
from xnatctl.model.events import EventKind
from xnatctl.model.report import Level, Status
from xnatctl_resource.transport import ResourceTransport

WAIT = Stage(kind="await-archive", name="wait")


def test_one_resource_that_fails_does_not_stop_the_others(
    make_plan, files, carry_out, server, session, on_disk, writes
):
    server.put(f"/data/experiments/{session}/resources/TAKEN/files/mine.txt", b"mine")
    server.put(f"/data/experiments/{session}/resources/TAKEN/files/plain.txt", b"other")
    nowhere = {"level": ResourceLevel.SCAN, "scan": "77"}
    stages = [*files("GOOD"), *files("TAKEN"), *files("LOST", **nowhere), *files("FINE")]
    run, error = carry_out(make_plan(*stages))
    assert isinstance(error, DeliveryIncomplete)
    assert "2 of 4 resources are incomplete" in error.message
    assert "TAKEN" in error.message
    assert "has no scan 77" in error.message
    assert set(on_disk("GOOD")) == {"0 [GOOD].txt", "1 [GOOD].txt", "plain.txt"}
    assert len(on_disk("FINE")) == 3
    assert on_disk("TAKEN")["plain.txt"] == b"other"
    codes = {part.title: (part.error or {}).get("exit_code") for part in run.report.resources}
    assert codes == {"GOOD": None, "TAKEN": 7, "scan 77/LOST": 2, "FINE": None}
    assert run.report.counts.sent == 6
    before = len(writes())
    stages = [*files("GOOD"), *files("TAKEN", overwrite=True), *files("FINE")]
    run, error = carry_out(make_plan(*stages))
    assert error is None
    assert run.report.status is Status.COMPLETE
    assert run.report.counts.skipped == 6
    assert len(writes()) == before + 1
    assert on_disk("TAKEN")["plain.txt"] == b"TAKEN"
    assert on_disk("TAKEN")["mine.txt"] == b"mine"


def test_resources_go_side_by_side_and_each_has_one_writer(make_plan, files, carry_out, session, on_disk):
    together, lock, busy, most = threading.Barrier(3, timeout=60), threading.Lock(), {}, {}

    class Meeting(ResourceTransport):
        """Does not go on before three resources have met here; counts who is in a resource at a time."""

        def batches(self, items, workers):
            return [replace(batch, id=f"{batch.id}-{item.path}", items=(item,))
                    for batch in super().batches(items, workers) for item in batch.items]  # fmt: skip

        def send(self, batch, emit):
            label = self._context.resource.label
            with lock:
                busy[label] = busy.get(label, 0) + 1
                most[label] = max(most.get(label, 0), busy[label])
            together.wait()
            result = super().send(batch, emit)
            with lock:
                busy[label] -= 1
            return result

    run, error = carry_out(make_plan(*files("A"), *files("B"), *files("C")), resource=Meeting)
    assert error is None
    assert most == {"A": 1, "B": 1, "C": 1}
    assert all(len(on_disk(label)) == 3 for label in "ABC")
    assert run.report.verification.level is Level.CHECKSUM


def test_a_session_and_its_resources_in_one_run(make_plan, dicom, files, carry_out, sandbox, on_disk):
    stages = (*dicom(), Stage(kind="await-archive", name="wait"), *files("Physio"), *files("MISC"))
    heard = []
    run, error = carry_out(make_plan(*stages), tell=heard.append)
    assert error is None
    assert len(sandbox.instances()) == 8
    assert len(on_disk("Physio")) == len(on_disk("MISC")) == 3
    report = run.report
    assert (report.counts.found, report.counts.verified) == (14, 14)
    assert report.transport == "tar+resource"
    assert report.verification.level is Level.SIZE, "the weakest of what was compared"
    assert report.uri == "/data/experiments/XNAT_E00001"
    assert [event.kind for event in heard].count(EventKind.RUN_STARTED) == 1
    assert next(e for e in heard if e.kind is EventKind.RUN_STARTED).data["files"] == 14
    sent = len([r for r in sandbox.requests if r["method"] in ("PUT", "POST") and "JSESSION" not in r["path"]])
    run, error = carry_out(make_plan(*stages))
    assert error is None
    assert run.report.counts.skipped == 14
    more = [r for r in sandbox.requests if r["method"] in ("PUT", "POST") and "JSESSION" not in r["path"]][sent:]
    assert more == [], "running it again sends nothing"


def test_what_the_site_filters_does_not_keep_files_from_their_resource(
    make_plan, dicom, files, carry_out, sandbox, on_disk
):
    sandbox.state.projects["DEMO"].series_filter = ("Phantom 2",)
    run, error = carry_out(make_plan(*dicom(), WAIT, *files("Physio")))
    assert isinstance(error, VerificationFailed)
    assert run.report.state == "archived"
    assert len(on_disk("Physio")) == 3


def test_when_all_is_refused_nothing_was_sent_and_that_is_what_is_said(
    make_plan, files, carry_out, server, session, writes
):
    server.put(f"/data/experiments/{session}/resources/A/files/plain.txt", b"other")
    before = len(writes())
    run, error = carry_out(make_plan(*files("A")))
    assert isinstance(error, Refused)
    assert len(writes()) == before
    assert run.report.counts.found == 0


def test_a_label_that_differs_from_another_only_in_capitals_is_refused(
    make_plan, files, carry_out, server, session, writes
):
    """A server whose disk does not tell capitals apart would keep both resources in one folder."""
    server.put(f"/data/experiments/{session}/resources/physio/files/plain.txt", b"mine")
    before = len(writes())
    _, error = carry_out(make_plan(*files("Physio")))
    assert isinstance(error, Refused)
    assert "physio" in error.message
    assert len(writes()) == before


def test_two_resources_of_one_label_are_not_guessed_between(make_plan, files, carry_out, server, session, sandbox):
    """First uploads at one moment make two (xnat-api 4.7)."""
    sandbox.switches.catalog_seconds = 1.0
    path = f"/data/experiments/{session}/resources/TWICE/files/{{}}.txt"
    threads = [threading.Thread(target=server.put, args=(path.format(name), b"x")) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sandbox.switches.catalog_seconds = 0.0
    twins = [row for row in server.rows(f"/data/experiments/{session}/resources") if row["label"] == "TWICE"]
    assert len(twins) == 2, "this is what the server does"
    _, error = carry_out(make_plan(*files("TWICE")))
    assert isinstance(error, Refused)
    assert all(row["xnat_abstractresource_id"] in error.message for row in twins)


@pytest.mark.parametrize(
    "broken",
    [
        lambda dicom, files: (*dicom(), *files("A"), *dicom()),
        lambda dicom, files: (*files("A"), *files("A")),
        lambda dicom, files: (*dicom(), *files("A")),
        lambda dicom, files: (replace(dicom()[0], kind="nothing of this name"),),
        lambda dicom, files: (replace(files("A")[0], resource=None),),
    ],
)
def test_plans_that_cannot_be_carried_out_are_refused_at_once(make_plan, dicom, files, carry_out, sandbox, broken):
    before = len(sandbox.requests)
    assert isinstance(carry_out(make_plan(*broken(dicom, files)))[1], UsageError)
    assert len(sandbox.requests) == before
