"""Others act on the server while an upload settles: no study ends in the session of another, and nothing is lost."""

from __future__ import annotations

import json
import re
import shutil
import time

import pytest
from children import HANGS

from xnatctl.operating_system.command_line import split_command
from xnatctl.testing import write_exam
from xnatctl_sandbox.world.records import Subject

pytestmark = pytest.mark.once
STAGED, DIRECT = "1.8.3", "1.8.11"
NAMES = ("-P", "DEMO", "-S", "s", "-E", "e", "-o", "json")
ARCHIVE = {"method": "POST", "path": "/services/archive"}
BUILD = {"method": "POST", "path": "/data/prearchive/"}
IMPORT = {"path": "/services/import"}
SCANS = {"path": "/prearchive/.*/scans$"}


@pytest.fixture
def ours(tmp_path):
    """Two series of four instances."""
    return write_exam(tmp_path / "ours", series=2, instances=4, seed=5, clutter=False)


@pytest.fixture
def theirs(tmp_path):
    """Another study: two series of three instances."""
    return write_exam(tmp_path / "theirs", series=2, instances=3, seed=99, clutter=False)


@pytest.fixture
def start(nursery, environment, alice):
    """Starts an upload in a process of its own."""

    def begin(directory, *more, env=alice, verb="upload"):
        words = ("-m", "xnatctl", "session", verb, str(directory), *NAMES, *more)
        return nursery.start(*words, env={**environment, **env})

    return begin


@pytest.fixture
def archive_as(xnatctl, sandbox, elsewhere):
    """Another person archives a study under the label, from the prearchive, where it waited under another."""

    def act(directory):
        names = ("-P", "DEMO", "-S", "s", "-E", "waiting")
        done = xnatctl("session", "upload", directory, *names, "--prearchive", env=elsewhere)
        assert done.code == 0, done.err
        row = sandbox.state.prearchive[-1]
        done = xnatctl("prearchive", "archive", "DEMO", row.timestamp, row.folder, "--label", "e", env=elsewhere)
        assert done.code == 0, done.err

    return act


@pytest.fixture
def held_up(sandbox):
    """Runs an upload that the server holds up at a call, acts, and lets it go on; exit code and report."""

    def run(begin, match, action, *, nth=1, faults=()):
        sandbox.faults.load([*faults, {"match": match, "nth": nth, "action": "delay", "seconds": HANGS}])
        rule = sandbox.faults._rules[-1]
        running = begin()
        while not rule["_done"]:
            time.sleep(0.005)
            assert running.poll() is None, running.err
        action()
        sandbox.faults.end()
        return finish(running)

    return run


def finish(running):
    out, err = running.communicate()
    assert b"Traceback" not in err, err
    return running.wait(), json.loads(out)


def held(sandbox, place, label="e"):
    """SHA-256 by SOP Instance UID of what the server holds there."""
    return {
        entry["sop_instance_uid"]: entry["sha256"]
        for entry in sandbox.instances()
        if entry["place"] == place and entry["session"] == label and (entry["catalogued"] or place != "archive")
    }


def imports(sandbox):
    return len([r for r in sandbox.requests if "services/import" in r["path"]])


def named_commands(error):
    """The commands that a hint tells to run."""
    return [split_command(re.split(" (?:or|and) ", words)[0]) for words in error["hint"].split("xnatctl ")[1:]]


def is_refused_until_decided(error, sandbox, ours):
    """The error names both studies' places, and nothing was merged."""
    assert (error["exit_code"], error["code"]) == (6, "not-archived"), error
    (row,) = [row for row in sandbox.state.prearchive if row.tag == ours.study_instance_uid]
    assert f"DEMO {row.timestamp} {row.folder}" in error["message"]
    assert held(sandbox, "prearchive") == ours.digests
    return row


@pytest.mark.parametrize("verb", ["upload", "upload --split-studies", "upload-exam"])
def test_another_study_takes_the_label_during_a_direct_archive(
    xnatctl, sandbox, alice, ours, theirs, start, archive_as, held_up, verb
):
    verb, *more = verb.split()
    end = {"method": "POST", "path": f"/xapi/direct-archive/.*{ours.study_instance_uid}"}
    code, report = held_up(lambda: start(ours.directory, *more, verb=verb), end, lambda: archive_as(theirs.directory))
    assert code == 6, report["error"]
    row = is_refused_until_decided(report["error"], sandbox, ours)
    assert held(sandbox, "archive") == theirs.digests
    assert f"study {theirs.study_instance_uid}" in report["error"]["message"]
    # Again: a person has to decide, and reads what about. Nothing is sent meanwhile.
    before = imports(sandbox)
    again = xnatctl("session", verb, ours.directory, *NAMES, *more, env=alice)
    assert (again.code, imports(sandbox)) == (7, before), again.err
    assert row.timestamp in again.document["error"]["hint"], again.document["error"]
    # The command that the error names does what it says.
    delete, archive = named_commands(report["error"])
    assert delete[:2] == ["prearchive", "delete"]
    assert xnatctl(*archive, env=alice).code == 0
    assert held(sandbox, "archive", "e_2") == ours.digests
    assert held(sandbox, "archive") == theirs.digests


@pytest.mark.parametrize("policy", ["delete", "append", "none"])
@pytest.mark.parametrize("call", [ARCHIVE, BUILD], ids=["between-look-and-call", "before-the-look"])
def test_another_study_takes_the_label_while_a_session_is_staged(
    sandbox, ours, theirs, start, archive_as, held_up, call, policy
):
    sandbox.state.version = STAGED
    begin = lambda: start(ours.directory, "--overwrite", policy)  # noqa: E731
    code, report = held_up(begin, call, lambda: archive_as(theirs.directory))
    assert code == 6, report["error"]
    is_refused_until_decided(report["error"], sandbox, ours)
    assert held(sandbox, "archive") == theirs.digests


def test_our_session_is_deleted_and_another_study_takes_its_label(
    xnatctl, sandbox, alice, ours, theirs, start, archive_as, held_up
):
    """The session of our study was there before the first byte, and is another one before the commit."""
    assert xnatctl("session", "upload", ours.directory, *NAMES, env=alice).code == 0

    def act():
        (old,) = sandbox.state.experiments.values()
        sandbox.remove_experiment(old)
        archive_as(theirs.directory)

    code, report = held_up(lambda: start(ours.directory, "--no-resume"), BUILD, act)
    assert code == 6, report["error"]
    is_refused_until_decided(report["error"], sandbox, ours)
    assert held(sandbox, "archive") == theirs.digests


def test_our_session_is_given_to_another_subject_meanwhile(xnatctl, sandbox, alice, ours, start, held_up):
    assert xnatctl("session", "upload", ours.directory, *NAMES, env=alice).code == 0

    def act():
        sandbox.state.subjects["XNAT_S9"] = Subject(id="XNAT_S9", label="other", project="DEMO")
        (session,) = sandbox.state.experiments.values()
        session.subject_id = "XNAT_S9"

    code, report = held_up(lambda: start(ours.directory, "--no-resume"), BUILD, act)
    assert code == 6, report["error"]
    is_refused_until_decided(report["error"], sandbox, ours)
    assert "subject other" in report["error"]["message"]


def test_the_same_study_appears_between_look_and_call_and_is_completed(
    sandbox, ours, start, archive_as, held_up, assert_exactly
):
    """XNAT refuses what is there already; a second look shows the same study, and `delete` replaces what matches."""
    sandbox.state.version = STAGED
    half = ours.directory / "series 1"
    code, report = held_up(lambda: start(ours.directory), ARCHIVE, lambda: archive_as(half))
    assert code == 0, report["error"]
    assert_exactly(sandbox, ours.digests, place="archive", label="e")


@pytest.mark.parametrize("version", [STAGED, DIRECT])
def test_none_leaves_a_session_alone_that_the_same_study_got_meanwhile(
    xnatctl, sandbox, alice, ours, start, archive_as, held_up, version
):
    sandbox.state.version = version
    call = BUILD if version == STAGED else {"method": "POST", "path": "/xapi/direct-archive"}
    half, mine = ours.directory / "series 1", ours.directory / "series 2"
    code, report = held_up(lambda: start(mine, "--overwrite", "none"), call, lambda: archive_as(half))
    assert code == 6, report["error"]
    first = {uid for uid, one in ours.instances.items() if "series 1" in str(one.path)}
    assert set(held(sandbox, "archive")) == first
    assert set(held(sandbox, "prearchive")) == set(ours.instances) - first
    before = imports(sandbox)
    again = xnatctl("session", "upload", mine, *NAMES, "--overwrite", "none", env=alice)
    assert (again.code, imports(sandbox)) == (7, before), again.err


def test_none_says_so_when_xnat_merges_all_the_same(xnatctl, sandbox, alice, ours, start, archive_as, held_up):
    """Between the last look and the call; XNAT has no call that refuses this. A rerun finds its own session."""
    sandbox.state.version = STAGED
    half, mine = ours.directory / "series 1", ours.directory / "series 2"
    code, report = held_up(lambda: start(mine, "--overwrite", "none"), ARCHIVE, lambda: archive_as(half))
    assert code == 6, report["error"]
    assert "4 files that this upload did not send" in report["error"]["message"]
    (show,) = named_commands(report["error"])
    assert xnatctl(*show, env=alice).code == 0
    assert held(sandbox, "archive") == ours.digests
    again = xnatctl("session", "upload", mine, *NAMES, "--overwrite", "none", env=alice)
    assert again.code == 0, again.err


def test_none_refuses_what_others_left_in_the_prearchive(xnatctl, sandbox, alice, elsewhere, ours, theirs):
    none = ("session", "upload", ours.directory, *NAMES, "--overwrite", "none")
    for directory in (ours.directory / "series 1", theirs.directory):
        assert xnatctl("session", "upload", directory, *NAMES, "--prearchive", env=elsewhere).code == 0
        before = imports(sandbox)
        done = xnatctl(*none, env=alice)
        assert (done.code, imports(sandbox)) == (7, before), done.err
        (row,) = sandbox.state.prearchive
        assert row.timestamp in done.document["error"]["message"]
        assert xnatctl("prearchive", "delete", "DEMO", row.timestamp, row.folder, "--yes", env=alice).code == 0
    assert xnatctl(*none, env=alice).code == 0


def test_none_completes_a_row_of_its_own(xnatctl, sandbox, alice, ours, assert_exactly):
    """Interrupted before the commit, with and without an answer to what was sent."""
    none = ("session", "upload", ours.directory, *NAMES, "--overwrite", "none", "--workers", "1")
    sandbox.state.version = STAGED
    sandbox.faults.load([{"match": {"path": "/services/archive"}, "action": "status", "status": 400}])
    assert xnatctl(*none, env=alice).code == 6
    sandbox.faults.end()
    done = xnatctl(*none, env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, ours.digests, place="archive", label="e")


@pytest.fixture
def together(sandbox, start, alice, elsewhere):
    """Two uploads that have looked at the server before either sends; exit codes and reports."""

    def run(first, second, *more):
        match = {"method": "POST", "path": "/services/import"}
        sandbox.faults.load([{"match": match, "nth": [1, 2], "action": "delay", "seconds": HANGS}])
        (rule,) = sandbox.faults._rules
        running = [start(first, *more), start(second, *more, env=elsewhere)]
        while rule["_done"] < 2:
            time.sleep(0.005)
            for each in running:
                assert each.poll() is None, each.err
        sandbox.faults.end()
        return [finish(each) for each in running]

    return run


@pytest.mark.parametrize("version", [STAGED, DIRECT])
def test_two_studies_that_start_together_under_one_label(sandbox, ours, theirs, together, version):
    sandbox.state.version = version
    results = together(ours.directory, theirs.directory)
    assert sorted(code for code, _ in results) == [0, 6], [report["error"] for _, report in results]
    winner, loser = (ours, theirs) if results[0][0] == 0 else (theirs, ours)
    assert held(sandbox, "archive") == winner.digests
    assert held(sandbox, "prearchive") == loser.digests


@pytest.mark.parametrize("version", [STAGED, DIRECT])
def test_one_study_that_two_machines_send_together_is_complete_in_the_end(
    xnatctl, sandbox, alice, elsewhere, ours, together, assert_exactly, version
):
    sandbox.state.version = version
    results = together(ours.directory, ours.directory)
    codes = [code for code, _ in results]
    assert 0 in codes or sandbox.instances(), codes
    for env in (alice, elsewhere):
        for _ in range(2):
            done = xnatctl("session", "upload", ours.directory, *NAMES, env=env)
            if done.code == 0:
                break
        assert done.code == 0, (codes, done.err)
    assert_exactly(sandbox, ours.digests, place="archive", label="e")


@pytest.mark.parametrize("policy", ["delete", "append"])
@pytest.mark.parametrize("kind", ["empty", "same series", "other series", "no subject"])
def test_an_existing_session_that_does_not_show_its_study(
    xnatctl, sandbox, alice, elsewhere, ours, theirs, kind, policy
):
    """Series tell the study; an empty session is filled; XNAT itself compares a subject that it does not show."""
    first = {"other series": theirs.directory}.get(kind, ours.directory / "series 1")
    assert xnatctl("session", "upload", first, *NAMES, env=elsewhere).code == 0
    (session,) = sandbox.state.experiments.values()
    if kind == "no subject":
        sandbox.state.subjects.pop(session.subject_id)
    else:
        session.uid = ""
    if kind == "empty":
        session.scans.clear()
        shutil.rmtree(session.directory)
    before = held(sandbox, "archive")
    done = xnatctl("session", "upload", ours.directory, *NAMES, "--overwrite", policy, env=alice)
    if kind == "other series":
        assert done.code == 7, done.err
        assert "different series" in done.document["error"]["message"]
        assert held(sandbox, "archive") == before
    elif kind == "no subject":
        assert done.code == 6, done.err
        assert held(sandbox, "archive") == before
    else:
        assert done.code == 0, done.err
        assert held(sandbox, "archive") == ours.digests


def test_the_direct_archive_is_taken_off_the_server_and_another_study_has_the_label(
    xnatctl, sandbox, alice, ours, theirs, start, archive_as, held_up
):
    """Nothing of ours is left: the session of the others is never called ours."""

    def act():
        archive_as(theirs.directory)
        (row,) = sandbox.state.direct
        for path in row.files:
            (row.directory / path).unlink()
        sandbox.state.direct.remove(row)

    end = {"method": "POST", "path": "/xapi/direct-archive"}
    code, report = held_up(lambda: start(ours.directory), end, act)
    assert (code, report["error"]["code"]) == (6, "not-archived")
    assert theirs.study_instance_uid in report["error"]["message"]
    assert report["destination"]["state"] != "archived"
    assert report["counts"]["verified"] == 0
    assert held(sandbox, "archive") == theirs.digests
    assert [xnatctl(*look, env=alice).code for look in named_commands(report["error"])] == [0, 0]


@pytest.mark.parametrize("taken", [False, True])
def test_a_staged_session_leaves_the_server_while_it_is_archived(
    xnatctl, sandbox, alice, ours, theirs, start, archive_as, held_up, taken
):
    """Afterwards the label is free, or another study has it; the commands of the hint show which."""
    sandbox.state.version = STAGED

    def act():
        sandbox.others.archive_row("e")
        (session,) = sandbox.state.experiments.values()
        sandbox.remove_experiment(session)
        if taken:
            archive_as(theirs.directory)

    code, report = held_up(lambda: start(ours.directory), ARCHIVE, act)
    assert (code, report["error"]["code"]) == (6, "not-archived")
    assert "The session left the prearchive, but" in report["error"]["message"]
    shown = [xnatctl(*look, env=alice) for look in named_commands(report["error"])]
    assert [done.code for done in shown] == [0, 0]
    assert ["e" in done.out.split() for done in shown] == [taken, False]


def test_what_was_refused_and_deleted_is_sent_again_when_the_label_is_free(
    xnatctl, sandbox, alice, ours, theirs, start, archive_as, held_up
):
    """The advice of the refusal is followed, and the other session goes as well: the same command converges."""
    sandbox.state.version = STAGED
    code, report = held_up(lambda: start(ours.directory), BUILD, lambda: archive_as(theirs.directory))
    assert code == 6
    delete, _ = named_commands(report["error"])
    assert xnatctl(*delete, "--yes", env=alice).code == 0
    (session,) = sandbox.state.experiments.values()
    sandbox.remove_experiment(session)
    done = xnatctl("session", "upload", ours.directory, *NAMES, env=alice)
    assert done.code == 0, done.err
    assert held(sandbox, "archive") == ours.digests


def test_the_label_that_is_proposed_is_free(
    sandbox, xnatctl, alice, ours, theirs, start, archive_as, held_up, tmp_path
):
    """`e_2` is taken as well."""
    third = write_exam(tmp_path / "third", series=1, instances=2, seed=77, clutter=False)
    names = ("-P", "DEMO", "-S", "s", "-E", "e_2")
    assert xnatctl("session", "upload", third.directory, *names, env=alice).code == 0
    sandbox.state.version = STAGED
    code, report = held_up(lambda: start(ours.directory), BUILD, lambda: archive_as(theirs.directory))
    assert code == 6
    _, archive = named_commands(report["error"])
    assert xnatctl(*archive, env=alice).code == 0
    assert held(sandbox, "archive", "e_3") == ours.digests


@pytest.mark.parametrize("change", ["rename_row", "delete_row", "archive_row"])
@pytest.mark.parametrize("call", [BUILD, SCANS], ids=["before-the-build", "before-the-count"])
def test_a_waiting_session_goes_away_before_it_is_counted(
    xnatctl, sandbox, alice, ours, start, held_up, assert_exactly, call, change
):
    """A 404 from there does not end with code 2, which says that nothing was sent; the next run completes it."""
    sandbox.state.version = STAGED

    def act():
        words = {"rename_row": ("e", "elsewhere")}.get(change, ("e",))
        getattr(sandbox.others, change)(*words)

    code, report = held_up(lambda: start(ours.directory), call, act)
    assert (code, report["counts"]["sent"]) == (6, 8), report["error"]
    assert "no longer in the prearchive" in report["error"]["message"]
    assert [xnatctl(*look, env=alice).code for look in named_commands(report["error"])] == [0, 0]
    if change == "rename_row":  # uploaded again, the study would be there twice
        before = imports(sandbox)
        again = xnatctl("session", "upload", ours.directory, *NAMES, env=alice)
        assert (again.code, imports(sandbox)) == (7, before), again.err
        assert "as elsewhere now" in again.document["error"]["message"]
        (delete,) = [
            words for words in named_commands(again.document["error"]) if words[:2] == ["prearchive", "delete"]
        ]
        assert xnatctl(*delete, "--yes", "--force", env=alice).code == 0  # it was not built, so it counts as receiving
    assert xnatctl("session", "upload", ours.directory, *NAMES, env=alice).code == 0
    assert_exactly(sandbox, ours.digests, place="archive", label="e")


def test_a_404_after_the_files_were_sent_is_not_the_code_of_nothing_sent(xnatctl, sandbox, alice, ours):
    sandbox.faults.load([{"match": {"path": "/data/experiments/XNAT"}, "action": "status", "status": 404}])
    done = xnatctl("session", "upload", ours.directory, *NAMES, env=alice)
    assert (done.code, done.document["error"]["exit_code"]) == (6, 6), done.err
    assert imports(sandbox)
    sandbox.faults.end()
    assert xnatctl("session", "upload", ours.directory, *NAMES, env=alice).code == 0


@pytest.mark.parametrize("way", ["rename", "delete"])
def test_a_session_is_renamed_while_instances_are_sent_to_it_again(
    xnatctl, sandbox, alice, ours, start, held_up, way, assert_exactly
):
    """What is sent again completes that session; under the label that is free now it would be one of its own."""
    cut = {"match": IMPORT, "nth": 1, "action": "truncate-file", "members": ".*", "bytes": -1500}
    staged = {**IMPORT, "query": "^(?!.*Direct-Archive=true)"}
    rename = lambda: sandbox.others.change_session("e", to_label="renamed")  # noqa: E731
    code, report = held_up(lambda: start(ours.directory), staged, rename, faults=[cut])
    assert code == 6, report["error"]
    assert "no longer session e" in report["error"]["message"]
    assert [session.label for session in sandbox.state.experiments.values()] == ["renamed"]
    assert len(held(sandbox, "prearchive")) == 1
    if way == "rename":
        sandbox.others.change_session("renamed", to_label="e")
        label = "e"
    else:
        (delete,) = named_commands(report["error"])
        assert xnatctl(*delete, "--yes", env=alice).code == 0
        assert not sandbox.state.prearchive
        label = "renamed"
    again = xnatctl("session", "upload", ours.directory, *NAMES[:4], "-E", label, env=alice)
    assert again.code == 0, again.err
    assert_exactly(sandbox, ours.digests, place="archive", label=label)


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_two_series_of_one_number_wait_in_the_prearchive(xnatctl, sandbox, alice, ours, first):
    """XNAT names one of the two scans 2-MR1, so a scan's name does not tell whose files it holds; their UIDs do."""
    import io

    import pydicom

    ds = pydicom.dcmread(next(iter(ours.instances.values())).path)
    ds.SeriesInstanceUID, ds.SeriesNumber = "1.2.826.0.1.77", 2
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.77.1"
    other = io.BytesIO()
    ds.save_as(other)
    upload = ("session", "upload", ours.directory, *NAMES, "--prearchive")
    if first == "ours":
        assert xnatctl(*upload, env=alice).code == 0
    sandbox.others.store([other.getvalue()], label="e")
    done = xnatctl(*upload, env=alice)
    assert len(sandbox.instances()) == 9
    assert "fewer files" not in done.err, "nothing is missing"
    assert done.code == 0, done.err
    assert [entry["sop_instance_uid"] for entry in done.document["verification"]["extra"]] == ["1.2.826.0.1.77.1"]
    sandbox.others.archive_row("e")
    assert xnatctl(*upload, env=alice).code == 0


@pytest.mark.parametrize("policy", ["delete", "none"])
def test_a_direct_archive_that_the_server_moved_away_is_ours_also_where_others_stored_the_same(
    sandbox, ours, start, held_up, policy
):
    """The session that somebody else made lists every instance, and the files of ours are moved to the prearchive."""
    files = [record.path for record in ours.instances.values()]
    trigger = {"method": "POST", "path": "/xapi/direct-archive"}
    code, report = held_up(
        lambda: start(ours.directory, "--overwrite", policy),
        trigger,
        lambda: sandbox.others.store(files, place="archive", label="e"),
    )
    moved = [row for row in sandbox.state.prearchive if row.tag == ours.study_instance_uid]
    if policy == "delete":
        assert code == 0, report["error"]
        assert not moved
        assert held(sandbox, "archive") == ours.digests
    else:
        assert (code, len(moved)) == (6, 1), report["error"]
        assert moved[0].timestamp in report["error"]["message"]


@pytest.mark.parametrize("checksum", [(), ("--verify", "checksum")])
def test_what_others_write_into_the_folder_of_a_direct_archive_is_replaced(
    sandbox, ours, start, held_up, assert_exactly, checksum
):
    """A version of the same length gets the file name of ours, and goes to the prearchive with the rest of ours."""
    changed = ours.instances[min(ours.instances)].path.read_bytes()[:-4] + b"abcd"

    def act():
        sandbox.others.store([changed], label="e", project="DEMO", place="archive")

    code, report = held_up(lambda: start(ours.directory, *checksum), {"path": "/xapi/direct-archive"}, act)
    assert code == 0, report["error"]
    assert_exactly(sandbox, ours.digests, place="archive", label="e")
    assert any("Somebody else made session e" in text for text in report["warnings"])
