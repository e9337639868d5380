"""`--split-studies`: a study that has a label keeps it, and no study is mixed into another."""

from __future__ import annotations

import shutil

import pytest
from studies import NAMES, by_number, imports, labels_of, sandbox_id, write_study

pytestmark = pytest.mark.once


@pytest.mark.parametrize("where", ["same machine", "elsewhere"])
@pytest.mark.parametrize("place", ["--direct-archive", "--prearchive"])
def test_a_study_that_is_added_later_moves_no_other(
    split, sandbox, visits, alice, elsewhere, assert_sessions, where, place
):
    assert split(place).code == 0
    earlier = write_study(visits.directory / "0", 4, "20231201")
    done = split(place, env=alice if where == "same machine" else elsewhere)
    assert done.code == 0, done.err
    expected = {**by_number(visits), "visit_4": earlier}
    assert_sessions(sandbox, expected, place="archive" if place == "--direct-archive" else "prearchive")
    assert list(labels_of(done.document).values()) == ["visit", "visit_2", "visit_3", "visit_4"]


def test_what_was_archived_after_a_review_keeps_its_label(xnatctl, split, sandbox, visits, alice, elsewhere):
    done = split("--prearchive")
    for command in done.document["next"]:
        assert xnatctl(*command.split()[1:], env=alice).code == 0
    write_study(visits.directory / "0", 4, "20231201")
    again = split(env=elsewhere)
    assert again.code == 0, again.err
    assert labels_of(again.document).items() >= labels_of(done.document).items()
    assert again.document["counts"]["found"] == 24


def test_the_first_may_be_gone_from_the_disk(split, sandbox, visits, assert_sessions):
    """Its label is in use, and the others keep theirs; a new study is the next."""
    assert split().code == 0
    shutil.rmtree(visits.directory / "b")
    fourth = write_study(visits.directory / "0", 4, "20231201")
    done = split()
    assert done.code == 0, done.err
    assert_sessions(sandbox, {**by_number(visits), "visit_4": fourth})
    assert f"Label visit is skipped: session visit ({sandbox_id(sandbox, 'visit')})" in done.err


@pytest.mark.parametrize("place", ["--direct-archive", "--prearchive"])
def test_a_number_that_holds_another_study_is_passed_over(xnatctl, split, sandbox, visits, elsewhere, tmp_path, place):
    other = write_study(tmp_path / "other", 9, "20200101")
    taken = ("-P", "DEMO", "-S", "somebody", "-E", "visit_2")
    assert xnatctl("session", "upload", other.directory, *taken, place, env=elsewhere).code == 0
    done = split()
    assert done.code == 0, done.err
    assert list(labels_of(done.document).values()) == ["visit", "visit_3", "visit_4"]
    assert any("visit_2 is skipped" in w and other.study_instance_uid in w for w in done.document["warnings"])
    held = {e["sop_instance_uid"] for e in sandbox.instances() if e["session"] == "visit_2"}
    assert held == set(other.instances), "no study is ever mixed into another"
    again = split()
    assert again.code == 0, again.err
    assert again.document["counts"]["skipped"] == 18


@pytest.mark.parametrize("subject", ["subj", "somebody"])
@pytest.mark.parametrize("place", ["--direct-archive", "--prearchive"])
def test_a_study_that_is_on_the_server_under_another_label_is_not_sent_again(
    xnatctl, split, sandbox, visits, elsewhere, subject, place
):
    there = ("-P", "DEMO", "-S", subject, "-E", "baseline", place)
    assert xnatctl("session", "upload", visits.directory / "b", *there, env=elsewhere).code == 0
    before = len(imports(sandbox))
    done = split()
    assert done.code == 7, done.err
    study = visits.studies[0].study_instance_uid
    assert f"Study {study} is on the server already, as session baseline" in done.document["error"]["message"]
    assert "-E baseline" in done.document["error"]["hint"]
    assert len(imports(sandbox)) == before


def test_a_session_that_somebody_renamed_is_not_sent_again(split, sandbox, visits):
    assert split().code == 0
    before = len(imports(sandbox))
    study = visits.studies[1].study_instance_uid
    (session,) = [entry for entry in sandbox.state.experiments.values() if entry.uid == study]
    session.label = "follow-up"
    done = split()
    assert done.code == 7, done.err
    assert "as session follow-up of subject subj" in done.document["error"]["message"]
    assert len(imports(sandbox)) == before
    session.label = "visit_2"
    assert split().code == 0, "the session has its label again"


def test_a_copy_under_another_label_does_not_matter_where_the_study_has_its_session(xnatctl, split, visits, elsewhere):
    assert split().code == 0
    there = ("-P", "DEMO", "-S", "subj", "-E", "copy")
    assert xnatctl("session", "upload", visits.directory / "b", *there, env=elsewhere).code == 0
    done = split()
    assert done.code == 0, done.err
    study = visits.studies[0].study_instance_uid
    assert f"Study {study} is on the server as session copy, too." in done.document["warnings"]


def test_the_label_that_was_named_is_not_passed_over(xnatctl, split, sandbox, visits, alice, elsewhere, tmp_path):
    other = write_study(tmp_path / "other", 9, "20200101")
    assert xnatctl("session", "upload", other.directory, *NAMES, env=elsewhere).code == 0
    before = len(imports(sandbox))
    done = split()
    assert done.code == 7, done.err
    assert other.study_instance_uid in done.document["error"]["message"]
    assert done.document["status"] == "refused"
    assert len(imports(sandbox)) == before


def test_what_cannot_be_a_label_is_refused_once_for_all(xnatctl, sandbox, visits, alice):
    """The accession ID of a session elsewhere, and a label that XNAT would change."""
    there = ("-P", "MANUAL", "-S", "subj", "-E", "other")
    assert xnatctl("session", "upload", visits.directory / "b", *there, env=alice).code == 0
    before = len(imports(sandbox))
    (accession,) = sandbox.state.experiments
    for label in (accession, "first visit"):
        names = ("-P", "DEMO", "-S", "subj", "-E", label, "--split-studies", "-o", "json")
        done = xnatctl("session", "upload", visits.directory, *names, env=alice)
        assert done.code == 7, done.err
        assert label in done.document["error"]["message"]
    assert len(imports(sandbox)) == before


def test_sessions_that_a_site_gives_other_uids_are_not_doubled(xnatctl, split, sandbox, visits, elsewhere):
    """As anonymisation does. The server shows none of the studies any more, and the journals know where they went."""
    assert split().code == 0
    before = len(imports(sandbox))
    for number, experiment in enumerate(sandbox.state.experiments.values()):
        experiment.uid = f"1.2.3.{number}"
    for env in (None, elsewhere):  # without a journal, the requested label belongs to another study
        again = split(env=env)
        assert again.code == 7, again.err
        assert "holds study 1.2.3.0" in again.document["error"]["message"]
    assert len(imports(sandbox)) == before
    # Looked at it may be, anywhere.
    verify = ("session", "verify", visits.directory, *NAMES, "--split-studies", "-o", "json")
    assert xnatctl(*verify, env=elsewhere).document["counts"]["verified"] == 18


def test_a_study_that_is_there_under_another_subject_stops_them_all(split, xnatctl, sandbox, visits, elsewhere):
    there = ("-P", "DEMO", "-S", "somebody", "-E", "visit_3")
    assert xnatctl("session", "upload", visits.directory / "b", *there, env=elsewhere).code == 0
    before = len(imports(sandbox))
    done = split()
    assert done.code == 7, done.err
    assert "session visit_3 of subject somebody, not of subj" in done.document["error"]["message"]
    assert len(imports(sandbox)) == before
