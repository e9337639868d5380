"""Every command that is printed to be run next helps: it is run here exactly as it is printed.

Those of exams are run in `exams/`, those of resumed uploads in `test_upload_status`, those of receivers in
`tests/plugins/cstore/test_cstore_printed`.
"""

from __future__ import annotations

import re

import pytest
from children import HANGS

from xnatctl.operating_system.command_line import split_command
from xnatctl.testing import write_exam

pytestmark = pytest.mark.once
NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")
TEXT = ("-o", "json")


@pytest.fixture
def ours(tmp_path):
    """Two series of three instances."""
    return write_exam(tmp_path / "o u'rs", series=2, instances=3, seed=5, clutter=False)


@pytest.fixture
def told(xnatctl, alice):
    """Run a line that was printed, by the person who read it; a question is answered with yes."""

    def run(line, *more, env=alice):
        program, *words = split_command(line)
        assert program == "xnatctl"
        yes = ["--yes"] if words[:2] == ["prearchive", "delete"] else []
        return xnatctl(*words, *yes, *more, env=env)

    return run


@pytest.fixture
def upload(xnatctl, alice):
    def run(directory, *more, env=alice):
        return xnatctl("session", "upload", directory, *NAMES, *more, *TEXT, env=env)

    return run


def commands(text):
    """The commands in a hint: each ends where the line does, or before the next is named."""
    return re.findall(r"xnatctl .*?(?= or [a-z]+ it|,? or |$)", text or "", re.MULTILINE)


def part_of(ours, tmp_path, number):
    """A folder with one series."""
    folder = tmp_path / f"part {number}"
    folder.mkdir()
    for path in sorted((ours.directory / f"series {number}").iterdir()):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("way", ["delete", "archive"])
def test_append_beside_a_waiting_session_that_holds_what_is_there(
    upload, told, sandbox, elsewhere, ours, tmp_path, way, assert_exactly
):
    """Somebody left the whole study in the prearchive; a part of it is in the archive."""
    assert upload(part_of(ours, tmp_path, 1), env=elsewhere).code == 0
    assert upload(ours.directory, "--prearchive", env=elsewhere).code == 0
    refused = upload(ours.directory, "--overwrite", "append")
    assert refused.code == 7, refused.err
    (line,) = [line for line in commands(refused.document["error"]["hint"]) if f"prearchive {way}" in line]
    assert told(line).code == 0
    done = upload(ours.directory, "--overwrite", "append")
    assert done.code == 0, done.err
    assert_exactly(sandbox, ours.digests, place="archive", label="e")


def test_append_to_a_waiting_session_that_nobody_has_read_yet(
    upload, told, sandbox, elsewhere, ours, tmp_path, assert_exactly
):
    """What the other upload sent is known only when the server has read it, which is after the files were sent."""
    assert upload(part_of(ours, tmp_path, 1), env=elsewhere).code == 0
    sandbox.state.version = "1.8.3"
    build = {"method": "POST", "path": "/data/prearchive/"}
    sandbox.faults.load([{"match": build, "action": "status", "status": 400}])
    assert upload(ours.directory, "--prearchive", env=elsewhere).code == 6
    sandbox.faults.end()
    done = upload(ours.directory, "--overwrite", "append")
    assert done.code == 6, done.err
    (line,) = done.document["next"]
    assert told(line).code == 0
    done = upload(ours.directory, "--overwrite", "append")
    assert done.code == 0, done.err
    assert_exactly(sandbox, ours.digests, place="archive", label="e")


@pytest.mark.parametrize("policy", ["append", "delete"])
def test_left_for_review_beside_an_archived_session(
    upload, told, sandbox, elsewhere, ours, tmp_path, policy, assert_exactly
):
    assert upload(part_of(ours, tmp_path, 1), env=elsewhere).code == 0
    done = upload(ours.directory, "--prearchive", "--overwrite", policy)
    assert done.code == 0, done.err
    (line,) = done.document["next"]
    archived = told(line)
    assert archived.code == 0, archived.err
    assert_exactly(sandbox, ours.digests, place="archive", label="e")
    done = upload(ours.directory, "--overwrite", policy)
    assert (done.code, done.document["counts"]["sent"], done.document["next"]) == (0, 0, []), done.err


@pytest.mark.parametrize("way", ["delete", "archive"])
def test_archiving_by_hand_what_is_there_already(upload, told, sandbox, elsewhere, ours, way, assert_exactly):
    assert upload(ours.directory, env=elsewhere).code == 0
    left = upload(ours.directory, "--prearchive", env={**elsewhere, "XDG_STATE_HOME": str(ours.directory) + ".state"})
    (line,) = left.document["next"]
    refused = told(line.replace("--overwrite delete", "--overwrite append"), *TEXT)
    assert refused.code == 7, refused.err
    assert sandbox.state.prearchive[0].status == "READY", "the server was not asked to do what it refuses"
    (line,) = [line for line in commands(refused.document["error"]["hint"]) if f"prearchive {way}" in line]
    assert told(line).code == 0
    assert not sandbox.state.prearchive
    assert_exactly(sandbox, ours.digests, place="archive", label="e")


def test_a_conflict_that_would_come_again(upload, told, sandbox, elsewhere, ours):
    """What helps is to see why: the same command would meet the same."""
    assert upload(ours.directory, env=elsewhere).code == 0
    (session,) = sandbox.state.experiments.values()
    session.xsi_type = "xnat:ctSessionData"
    sandbox.state.site["preventCrossModalityMerge"] = True
    done = upload(ours.directory, env={**elsewhere, "XDG_STATE_HOME": str(ours.directory) + ".state"})
    assert done.code == 6
    (line,) = done.document["next"]
    shown = told(line)
    assert shown.code == 0
    assert "Invalid modification" in shown.out


def test_verify_names_the_upload_that_it_misses(xnatctl, told, alice, ours, sandbox):
    def verify():
        return xnatctl("session", "verify", ours.directory, *NAMES, *TEXT, env=alice)

    for lose in (None, "1"):
        if lose is not None:
            sandbox.others.drop_scan(lose)
        missing = verify()
        assert missing.code == 6
        (line,) = commands(missing.document["error"]["hint"])
        assert told(line).code == 0
        assert verify().code == 0


@pytest.mark.parametrize(
    ("words", "shows"),
    [
        (("session", "show", "w", "-P", "DEMO"), "w"),
        (("session", "show", "nope", "-P", "DEMO"), "e"),
        (("scan", "list", "-E", "nope", "-P", "DEMO"), "e"),
        (("resource", "upload", "nope", "R", "FILE", "-P", "DEMO"), "e"),
        (("resource", "upload", "w", "R", "FILE", "-P", "DEMO"), "w"),
        (("prearchive", "show", "DEMO", "20240101_1", "nope"), "w"),
        (("prearchive", "archive", "DEMO", "20240101_1", "nope"), "w"),
        (("prearchive", "delete", "DEMO", "20240101_1", "nope", "--yes"), "w"),
        (("upload", "resume", "nope"), "DEMO/e"),
    ],
)
def test_who_names_what_is_not_there_is_shown_what_is(xnatctl, upload, told, alice, ours, tmp_path, words, shows):
    """`e` is in the archive, `w` waits in the prearchive."""
    (tmp_path / "file").write_text("x")
    assert upload(ours.directory).code == 0
    where = ("-P", "DEMO", "-S", "s", "-E", "w", "--prearchive")
    assert xnatctl("session", "upload", ours.directory, *where, env=alice).code == 0
    done = xnatctl(*(word.replace("FILE", str(tmp_path / "file")) for word in words), *TEXT, env=alice)
    assert done.code == 2, done.err
    (line,) = commands(done.document["error"]["hint"])
    shown = told(line)
    assert shown.code == 0
    assert shows in shown.out.replace("│", " ").split()


def test_the_lists_say_what_shows_more(xnatctl, upload, told, sandbox, alice, ours):
    assert upload(ours.directory, "--prearchive").code == 0
    listed = xnatctl("session", "list", "-P", "DEMO", env=alice)
    (line,) = commands(listed.out)
    assert ours.study_instance_uid in told(line, *TEXT).out
    sandbox.state.prearchive[0].status = "CONFLICT"
    (line,) = commands(xnatctl("prearchive", "list", env=alice).out)
    assert told(line, *TEXT).document["status"] == "CONFLICT"


@pytest.mark.parametrize("way", ["resume", "forget"])
def test_files_of_an_earlier_upload_that_are_not_part_of_this(upload, told, sandbox, ours, way):
    sandbox.faults.load([{"match": {"path": "services/import"}, "nth": 2, "action": "status", "status": 403}])
    sandbox.faults._rules[0]["times"] = 99
    assert upload(ours.directory, "--mode", "gradual", "--workers", "1").code != 0
    sandbox.faults.end()
    gone = next((ours.directory / "series 2").iterdir())
    content = gone.read_bytes()
    gone.unlink()
    done = upload(ours.directory)
    assert done.code == 0, done.err
    (warning,) = [text for text in done.document["warnings"] if "of an earlier upload" in text]
    if way == "resume":
        gone.write_bytes(content)
        done = upload(ours.directory)
        assert (done.code, done.document["warnings"]) == (0, [])
    else:
        (line,) = [line for line in commands(warning) if "forget" in line]
        assert told(line).code == 0
        assert not upload(ours.directory).document["warnings"]


def test_a_login_that_ends_under_way_is_named_first(ours, upload, told, sandbox, alice, xnatctl):
    """A session token cannot be renewed: the first command that is printed is the one that logs in."""
    login = xnatctl("auth", "login", env=alice)
    assert login.code == 0, login.err
    no_password = {name: value for name, value in alice.items() if name == "XNAT_URL"}
    sandbox.faults.load(
        [{"match": {"path": "/services/import"}, "nth": 2, "action": "expire-session", "login": "alice"}]
    )
    done = upload(ours.directory, "--mode", "gradual", "--workers", "1", env=no_password)
    assert done.code == 5, done.err
    again, rerun = commands(done.document["error"]["hint"].replace(", then run", "\n"))
    assert again.startswith("xnatctl auth login")
    assert told(again).code == 0
    assert told(rerun, env=no_password).code == 0


def test_a_session_of_another_study_is_called_that(ours, upload, xnatctl, alice, tmp_path):
    other = write_exam(tmp_path / "other", series=1, instances=2, seed=6, clutter=False)
    assert upload(ours.directory).code == 0
    done = xnatctl("session", "verify", other.directory, *NAMES, *TEXT, env=alice)
    assert done.code == 6
    said = f"belongs to a different study: it holds study {ours.study_instance_uid}"
    assert said in done.document["error"]["message"]
    assert "Check -E." in done.document["error"]["hint"]
    kinds = [difference["kind"] for difference in done.document["verification"]["differences"]]
    assert kinds == ["study", "missing", "missing"]


# refused before the first byte


@pytest.mark.parametrize(
    ("subject", "status", "more", "why"),
    [
        ("s", "READY", ("--overwrite", "none"), "does not change existing sessions"),
        ("s", "ARCHIVING", ("--no-resume",), "would be lost"),
        ("other", "READY", (), "under subject other"),
    ],
)
def test_a_waiting_session_that_prevents_an_upload_is_shown(
    upload, told, sandbox, elsewhere, ours, subject, status, more, why
):
    assert upload(ours.directory, "-S", subject, "--prearchive", env=elsewhere).code == 0
    (row,) = sandbox.state.prearchive
    row.status = status
    refused = upload(ours.directory, *more)
    assert refused.code == 7, refused.err
    assert why in refused.document["error"]["message"]
    (line,) = commands(refused.document["error"]["hint"])
    shown = told(line)
    assert shown.code == 0, shown.err
    assert status in shown.out.split()


def test_a_label_of_another_study_while_ours_waits_in_the_prearchive(upload, told, elsewhere, ours, tmp_path):
    other = write_exam(tmp_path / "other", series=1, instances=2, seed=6, clutter=False)
    assert upload(ours.directory, "--prearchive", env=elsewhere).code == 0
    assert upload(other.directory, env=elsewhere).code == 0
    refused = upload(ours.directory)
    assert refused.code == 7, refused.err
    (line,) = commands(refused.document["error"]["hint"])
    assert ours.study_instance_uid in told(line, *TEXT).out


# what an earlier run left is not where it was


@pytest.fixture
def left_for_review(upload, ours, sandbox):
    """The session waits in the prearchive; its row."""
    assert upload(ours.directory, "--prearchive").code == 0
    (row,) = sandbox.state.prearchive
    return row


@pytest.mark.parametrize("policy", ["delete", "none"])
def test_somebody_archived_it_under_another_label(upload, told, sandbox, ours, left_for_review, policy, assert_exactly):
    row = left_for_review
    assert told(f"xnatctl prearchive archive DEMO {row.timestamp} {row.folder} --label other").code == 0
    refused = upload(ours.directory, "--overwrite", policy)
    assert refused.code == 7, refused.err
    (line,) = commands(refused.document["error"]["hint"])
    done = told(line)
    assert done.code == 0, done.err
    assert_exactly(sandbox, ours.digests, place="archive", label="other")


def test_somebody_archived_it_under_another_label_and_it_is_wanted_twice(upload, told, sandbox, ours, left_for_review):
    row = left_for_review
    assert told(f"xnatctl prearchive archive DEMO {row.timestamp} {row.folder} --label other").code == 0
    assert "--no-resume" in upload(ours.directory).document["error"]["hint"]
    done = upload(ours.directory, "--no-resume")
    assert done.code == 0, done.err
    assert {session.label for session in sandbox.state.experiments.values()} == {"e", "other"}


def test_somebody_moved_it_to_another_project(upload, told, sandbox, ours, left_for_review, assert_exactly):
    sandbox.prearchive.move(left_for_review, "MANUAL")
    refused = upload(ours.directory)
    assert refused.code == 7, refused.err
    (line,) = commands(refused.document["error"]["hint"])
    assert told(line).code == 0
    assert_exactly(sandbox, ours.digests, place="archive", label="e", project="MANUAL")


@pytest.mark.parametrize("way", ["upload", "delete"])
def test_somebody_gave_it_another_label(upload, told, sandbox, ours, left_for_review, way, assert_exactly):
    left_for_review.name = "other"
    refused = upload(ours.directory)
    assert refused.code == 7, refused.err
    (line,) = [line for line in commands(refused.document["error"]["hint"]) if f" {way} " in line]
    assert told(line).code == 0
    done = upload(ours.directory) if way == "delete" else None
    assert done is None or done.code == 0, done.err
    assert_exactly(sandbox, ours.digests, place="archive", label="e" if way == "delete" else "other")


# too late


@pytest.mark.parametrize(
    ("version", "path"), [("1.8.3", "/services/archive"), ("1.8.11", "/xapi/direct-archive/")], ids=["staged", "direct"]
)
def test_what_was_not_archived_in_time(upload, told, sandbox, ours, version, path, assert_exactly):
    sandbox.state.version = version
    sandbox.faults.load([{"match": {"method": "POST", "path": path}, "action": "delay", "seconds": HANGS}])
    late = upload(ours.directory, "--wait", "1")
    assert late.code == 6, late.err
    for line in commands(late.document["error"]["hint"]):
        assert told(line).code == 0
    sandbox.faults.end()
    (line,) = late.document["next"]
    done = told(line.replace("--wait 1", "--wait 60"))
    assert done.code == 0, done.err
    assert_exactly(sandbox, ours.digests, place="archive", label="e")


def test_a_run_that_finds_the_server_still_at_work(upload, told, sandbox, ours, assert_exactly):
    """What an earlier run began goes on; a run that does not wait for it says so, and one that does ends well."""
    sandbox.state.version = "1.8.3"
    sandbox.faults.load(
        [{"match": {"method": "POST", "path": "/services/archive"}, "action": "delay", "seconds": HANGS}]
    )
    assert upload(ours.directory, "--wait", "1").code == 6
    sandbox.faults.end()
    for row in sandbox.state.prearchive:
        row.status = "ARCHIVING"
    busy = upload(ours.directory, "--wait", "1")
    assert busy.code == 6, busy.err
    assert "still processing the earlier upload" in busy.document["error"]["message"]
    for row in sandbox.state.prearchive:
        row.status = "READY"
    (line,) = busy.document["next"]
    assert told(line).code == 0
    assert_exactly(sandbox, ours.digests, place="archive", label="e")
