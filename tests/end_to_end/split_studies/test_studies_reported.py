"""`--split-studies`: the report, the dry run and `session verify` name each session."""

from __future__ import annotations

import json

import pytest
from studies import NAMES, by_number, labels_of, sandbox_id, write_study

pytestmark = pytest.mark.once


# what is said


def test_the_report_holds_every_session(split, visits, sandbox):
    (visits.directory / "note.txt").write_text("not an image")
    report = split().document
    assert report["schema"] == "xnatctl.report/1"
    assert (report["status"], report["error"], report["destination"]["session"]) == ("complete", None, "visit")
    assert report["destination"]["state"] == "archived"
    assert report["counts"] == {"found": 18, "excluded": 1, "sent": 18, "skipped": 0, "failed": 0, "verified": 18}
    assert [entry["path"] for entry in report["excluded"]] == ["note.txt"]
    assert report["verification"] | {"ok": True, "differences": []} == report["verification"]
    assert len(report["items"]) == 18
    for study, wanted, label in zip(report["studies"], visits.studies, by_number(visits), strict=True):
        assert study["study_instance_uid"] == wanted.study_instance_uid
        assert (study["session"], study["subject"], study["state"]) == (label, "subj", "archived")
        assert study["uri"] == f"/data/experiments/{sandbox_id(sandbox, label)}"
        assert (study["status"], study["error"]) == ("complete", None)
        assert study["counts"]["verified"] == 6
        assert study["verification"]["level"] in ("uid", "size")


def test_tables_rows_and_identifiers_say_each_session(split, visits, sandbox):
    table = split(output=())
    assert table.code == 0, table.err
    assert "3 of 3 sessions complete: 18 of 18 instances" in table.out
    for label, study in by_number(visits).items():
        uri = f"/data/experiments/{sandbox_id(sandbox, label)}"
        assert f"{label}: study {study.study_instance_uid}, archived: {uri}" in table.out
        assert f"Session {label} (" in table.err
    rows = [json.loads(line) for line in split(output=("-o", "ndjson")).out.splitlines()]
    assert [(row["session"], row["files"]) for row in rows] == [(label, 3) for label in by_number(visits) for _ in "12"]
    quiet = split(output=("-q",))
    assert quiet.out.splitlines() == [f"/data/experiments/{sandbox_id(sandbox, label)}" for label in by_number(visits)]


def test_a_dry_run_shows_every_session_and_asks_nobody(split, sandbox, visits):
    done = split("--dry-run", env={})
    assert done.code == 0, done.err
    assert done.document["schema"] == "xnatctl.plans/1"
    plans = done.document["plans"]
    assert [plan["destination"]["session"] for plan in plans] == list(by_number(visits))
    for plan, study in zip(plans, visits.studies, strict=True):
        assert plan["schema"] == "xnatctl.plan/1"
        sent = [item["sop_instance_uid"] for stage in plan["stages"] for item in stage["items"]]
        assert sorted(sent) == sorted(study.instances)
    table = split("--dry-run", output=())
    assert "Would make 3 sessions" in table.out
    for label in by_number(visits):
        assert f"  {label}: " in table.out
    assert not sandbox.requests


def test_a_dry_run_knows_what_this_machine_sent(split, visits):
    assert split().code == 0
    write_study(visits.directory / "0", 4, "20231201")
    plans = split("--dry-run").document["plans"]
    assert [plan["destination"]["session"] for plan in plans] == ["visit", "visit_2", "visit_3", "visit_4"]
    assert plans[0]["stages"][0]["items"][0]["study_instance_uid"] == visits.studies[0].study_instance_uid
    assert [plan["delivered_before"] for plan in plans] == [6, 6, 6, 0]


# looking afterwards


@pytest.mark.parametrize("where", ["same machine", "elsewhere"])
def test_each_study_is_compared_with_its_session(
    xnatctl, split, sandbox, visits, alice, elsewhere, assert_sessions, where
):
    env = alice if where == "same machine" else elsewhere
    verify = ("session", "verify", visits.directory, *NAMES, "--split-studies")
    nothing = xnatctl(*verify, "-o", "json", env=env)
    assert nothing.code == 6, nothing.err
    assert "--split-studies" in nothing.document["error"]["hint"], "without it the upload would be refused"
    assert split().code == 0
    done = xnatctl(*verify, "-o", "json", env=env)
    assert done.code == 0, done.err
    assert labels_of(done.document) == {s.study_instance_uid: label for label, s in by_number(visits).items()}
    assert done.document["counts"]["verified"] == 18
    table = xnatctl(*verify, env={**env, "XNAT_USER": "bob", "XNAT_PASS": "bob"})  # who may only read
    assert "3 of 3 sessions hold what is on disk: 18 of 18 instances" in table.out
    fourth = write_study(visits.directory / "0", 4, "20231201")
    short = xnatctl(*verify, "-o", "json", env=env)
    assert short.code == 6, short.err
    statuses = {study["session"]: study["status"] for study in short.document["studies"]}
    assert statuses == {"visit": "complete", "visit_2": "complete", "visit_3": "complete", "visit_4": "partial"}
    missing = {item["sop_instance_uid"] for item in short.document["items"] if item["outcome"] == "missing"}
    assert missing == set(fourth.instances)
    assert_sessions(sandbox, by_number(visits))
