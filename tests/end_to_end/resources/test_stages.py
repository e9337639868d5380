"""Plans of several stages: a session, a wait, resources side by side; each on its own, in one report."""

from __future__ import annotations

import threading
from contextlib import closing, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from running import run_in, services

from xnatctl.api import (
    Credential,
    DeliveryIncomplete,
    Destination,
    NotArchived,
    PermissionDenied,
    Refused,
    ResourceLevel,
    ResourceRef,
    Stage,
    UploadPlan,
    UploadRequest,
    UsageError,
    VerificationFailed,
)
from xnatctl.api.commands import plan_resource_stage, plan_session_upload, scan_files
from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.journal.store import Store
from xnatctl.model.events import EventKind
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import Overwrite, Placement
from xnatctl.model.report import Level, Status
from xnatctl.testing import write_exam
from xnatctl.xnat import prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl_resource.stage import ResourceGroup
from xnatctl_resource.transport import ResourceTransport
from xnatctl_zip.transport import TarTransport

WAIT = Stage(kind="await-archive", name="wait")
LATER = "xnatctl session upload-exam EXAM --attach-only"


@pytest.fixture
def client(sandbox):
    with XnatClient(sandbox.url) as made:
        made.login(lambda: Credential(kind="password", username="alice", secret="alice"))
        yield made


@pytest.fixture
def make_plan(sandbox, tmp_path):
    """A plan of these stages for session `e` of DEMO."""

    def make(*stages, placement=Placement.ARCHIVE, workers=4, session="e", **more):
        where = Destination(server=sandbox.url, project="DEMO", subject="s", session=session)
        return UploadPlan(
            command="session upload-exam",
            root=str(tmp_path),
            destination=where,
            workers=workers,
            placement=placement,
            overwrite=Overwrite.DELETE,
            stages=stages,
            **more,
        )

    return make


@pytest.fixture
def files(tmp_path):
    """The stages of one resource with some files of its own."""

    def make(label, *, level=ResourceLevel.SESSION, **more):
        folder = tmp_path / label
        folder.mkdir(exist_ok=True)
        for name in (f"0 [{label}].txt", f"1 [{label}].txt", "plain.txt"):
            if not (folder / name).exists():
                (folder / name).write_bytes(label.encode())
        items = scan_files(str(folder), prefix=label).items
        ref = ResourceRef(label=label, level=level, scan=more.pop("scan", ""))
        return (plan_resource_stage(ref, items, **more),)

    return make


@pytest.fixture
def carry_out(client, tmp_path):
    """Run a plan as the command would; the journal is the same each time. Returns the run and what it ended with."""

    def run(plan, *, resource=ResourceTransport, tell=lambda event: None):
        transports = {"resource": resource, "tar": TarTransport}
        with closing(Journal(Store(tmp_path / "journal.sqlite"))) as journal:
            made = services(transports, tmp_path, tell=tell)
            report, error = run_in(plan, made, client=client, journal=journal, exclusively=lambda key: nullcontext())
            return SimpleNamespace(report=report), error

    return run


@pytest.fixture
def dicom(tmp_path, sandbox):
    """The stages of a small session."""
    exam = write_exam(tmp_path / "dicom", series=2, instances=4, seed=2, clutter=False)
    where = Destination(server=sandbox.url, project="DEMO", subject="s", session="e")
    request = UploadRequest(
        command="session upload", path=str(exam.directory), destination=where, transport="tar", workers=2
    )
    return lambda **more: plan_session_upload(replace(request, **more)).stages


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
    """Between the comparison and the attaching the session gets another label, and a stranger takes the old one."""
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
        reader.login(lambda: Credential(kind="password", username="bob", secret="bob"))
        wait = Stage(kind="await-archive", name="wait", options={"seconds": 900})
        made = services({"resource": ResourceTransport}, tmp_path)
        _, error = run_in(make_plan(wait, *files("Physio")), made, client=reader)
        assert isinstance(error, PermissionDenied)


def test_when_all_is_refused_nothing_was_sent_and_that_is_what_is_said(
    make_plan, files, carry_out, server, session, writes
):
    server.put(f"/data/experiments/{session}/resources/A/files/plain.txt", b"other")
    before = len(writes())
    run, error = carry_out(make_plan(*files("A")))
    assert isinstance(error, Refused)
    assert len(writes()) == before
    assert run.report.counts.found == 0


@pytest.mark.parametrize(("content", "outcome"), [(b"A", "verified"), (b"another", "rejected")])
def test_a_file_that_appears_meanwhile_is_looked_into(
    make_plan, files, carry_out, server, session, on_disk, content, outcome
):
    """Somebody else is faster: 200 and a list of duplicates (xnat-api 4.4), which is neither yes nor no."""

    class Slow(ResourceTransport):
        def send(self, batch, emit):
            server.put(f"/data/experiments/{session}/resources/A/files/plain.txt", content)
            return super().send(batch, emit)

    run, error = carry_out(make_plan(*files("A")), resource=Slow)
    assert {item.path: str(item.outcome) for item in run.report.items}["A/plain.txt"] == outcome
    assert isinstance(error, DeliveryIncomplete) is (outcome == "rejected")
    assert on_disk("A") == {"0 [A].txt": b"A", "1 [A].txt": b"A", "plain.txt": content}
    again, error = carry_out(make_plan(*files("A")))
    assert isinstance(error, Refused) is (outcome == "rejected"), "it is somebody else's, however often we try"
    assert on_disk("A")["plain.txt"] == content


def test_a_file_that_appears_between_two_attempts_is_not_replaced(
    make_plan, files, carry_out, server, session, on_disk, sandbox
):
    """The first request was turned away, so what is there at the second is not ours."""
    sandbox.faults.load([{"match": {"method": "PUT", "path": "/files/"}, "nth": 1, "action": "status", "status": 429}])

    class Overtaken(ResourceTransport):
        tries = 0

        def send(self, batch, emit):
            Overtaken.tries += 1
            if Overtaken.tries == 2:
                server.put(f"/data/experiments/{session}/resources/A/files/plain.txt", b"somebody else's")
            return super().send(batch, emit)

    run, error = carry_out(make_plan(*files("A")), resource=Overtaken)
    assert Overtaken.tries == 2
    assert isinstance(error, DeliveryIncomplete)
    assert {item.path: str(item.outcome) for item in run.report.items}["A/plain.txt"] == "rejected"
    assert on_disk("A")["plain.txt"] == b"somebody else's"


def test_what_may_have_been_stored_stays_ours_when_the_next_attempt_is_turned_away(
    make_plan, files, carry_out, session, on_disk, sandbox
):
    """Stored Stored with the answer lost, then 403: on a site without checksums the files are read back."""
    sandbox.state.site["checksums"] = False
    match = {"method": "PUT", "path": "/files/"}
    lost = {"match": match, "nth": 1, "action": "store-then-cut"}
    refused = {"match": match, "nth": "every", "action": "status", "status": 403}
    unread = {"match": {"method": "GET", "path": "/files/."}, "nth": "every", "action": "status", "status": 403}
    unlisted = {"match": {"method": "GET", "path": "/files"}, "nth": 1, "action": "status", "status": 403}
    sandbox.faults.load([lost, refused, unread, unlisted])
    _, error = carry_out(make_plan(*files("A")))
    assert isinstance(error, PermissionDenied)
    sandbox.faults.load([])
    _, error = carry_out(make_plan(*files("A")))
    assert error is None, error
    assert on_disk("A") == {"0 [A].txt": b"A", "1 [A].txt": b"A", "plain.txt": b"A"}


@pytest.mark.parametrize("checksums", [True, False])
def test_a_lost_answer_gives_no_right_to_replace_what_somebody_else_put_there(
    make_plan, files, carry_out, server, session, on_disk, sandbox, checksums
):
    """Nothing of the first request arrived. Before the second a colleague's file is there, in the same bundle."""
    sandbox.state.site["checksums"] = checksums
    sandbox.faults.load([{"match": {"method": "PUT", "path": "/files/"}, "nth": 1, "action": "cut-before-body"}])
    put = f"/data/experiments/{session}/resources/A/files"

    class Overtaken(ResourceTransport):
        tries = 0

        def send(self, batch, emit):
            result = super().send(batch, emit)
            Overtaken.tries += 1
            if Overtaken.tries == 1:
                server.put(f"{put}/plain.txt", b"B")  # of the same size as ours
            return result

    run, error = carry_out(make_plan(*files("A")), resource=Overtaken)
    assert isinstance(error, DeliveryIncomplete)
    assert {item.path: str(item.outcome) for item in run.report.items}["A/plain.txt"] == "rejected"
    assert on_disk("A") == {"0 [A].txt": b"A", "1 [A].txt": b"A", "plain.txt": b"B"}
    _, error = carry_out(make_plan(*files("A")))
    assert isinstance(error, Refused)
    assert "plain.txt" in error.message
    _, error = carry_out(make_plan(*files("A", overwrite=True)))
    assert error is None
    assert on_disk("A")["plain.txt"] == b"A"


@pytest.mark.parametrize("meanwhile", ["nothing", "replaced", "finished"])
def test_half_a_file_is_replaced_in_a_request_of_its_own(
    make_plan, files, carry_out, server, session, on_disk, writes, tmp_path, meanwhile
):
    """What overwrites holds nothing but what an interrupted run of ours left half, looked at once more before."""
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "plain.txt").write_bytes(b"0123456789")
    put = f"/data/experiments/{session}/resources/A/files/plain.txt"

    class Silent(ResourceTransport):
        """Nobody knows what arrived."""

        def send(self, batch, emit):
            unknown = {"outcome": Outcome.AMBIGUOUS, "failure": FailureClass.FATAL, "reason": "no answer"}
            return BatchResult(outcomes=tuple(ItemOutcome(path=item.path, **unknown) for item in batch.items))

    class Watched(ResourceTransport):
        def send(self, batch, emit):
            if meanwhile != "nothing" and "plain.txt" in [item.name for item in batch.items]:
                content = {"replaced": b"01x34", "finished": b"0123456789"}[meanwhile]
                server.call("PUT", put, body=content, inbody="true", overwrite="true")
            return super().send(batch, emit)

    assert carry_out(make_plan(*files("A")), resource=Silent)[1] is not None
    server.put(put, b"01234")
    before = len(writes())
    run, error = carry_out(make_plan(*files("A")), resource=Watched)
    sent = [(request["path"].rpartition("/")[2], "overwrite=true" in request["query"]) for request in writes()[before:]]
    rest = {"0 [A].txt": b"A", "1 [A].txt": b"A"}
    if meanwhile == "replaced":
        assert isinstance(error, DeliveryIncomplete)
        assert on_disk("A") == {**rest, "plain.txt": b"01x34"}
    else:
        assert error is None, error
        assert on_disk("A") == {**rest, "plain.txt": b"0123456789"}
    by_us = {"nothing": [("plain.txt", True)]}.get(meanwhile, [])
    by_them = [("plain.txt", True)] * (meanwhile != "nothing")
    assert sent == [("xnatctl-bundle.zip", False), *by_them, *by_us]


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
