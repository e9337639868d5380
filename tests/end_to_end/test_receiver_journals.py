"""A transport that hands over has one journal for each address: another address gets everything, the same one nothing."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing

import pytest

from xnatctl.delivery.journal.store import journal_key
from xnatctl.model.refs import Destination
from xnatctl.testing.exam import write_exam

pytestmark = pytest.mark.once

DROP = """
import pathlib
from xnatctl.api import *

def address_of(options):
    return f"folder:{options['into']}"

@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="drop", summary="into a folder", target="dist_drop_drop:Drop", settle="none", DESTINATION
                          options=(Option(name="into", help="The folder.", required=True),
                                   Option(name="pace", help="How fast.", default="slow")))]

class Drop:
    def __init__(self, context):
        self.context = context
    def describe(self):
        return {"into": self.context.options["into"], "address": self.context.address}
    def send(self, batch, emit):
        for item in batch.items:
            with self.context.open_item(item) as reader:
                pathlib.Path(self.context.options["into"], item.name).write_bytes(reader.read())
            yield ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED)
    def close(self):
        pass
"""


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=1, instances=3, seed=5, clutter=False)


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / name for name in ("one", "two")]
    for folder in made:
        folder.mkdir()
    return made


def arrived(folder):
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("declared", [True, False])
def test_two_addresses_are_two_uploads(xnatctl, install, exam, folders, declared):
    env = install("drop", DROP.replace("DESTINATION", 'destination="dist_drop_drop:address_of",' if declared else ""))

    def upload(folder, *more):
        command = ("session", "upload", exam.directory, "--mode", "drop", "--into", folder, "-o", "json", *more)
        done = xnatctl(*command, env=env)
        assert done.code == 0, done.err
        return done.document

    for folder in folders:
        if declared:
            planned = upload(folder, "--dry-run")
            assert planned["destination"]["server"] == planned["transport"]["address"] == f"folder:{folder}"
        report = upload(folder)
        assert report["counts"]["sent"] == 3
        if declared:
            assert report["destination"]["server"] == f"folder:{folder}"
        assert arrived(folder) == set(exam.digests.values())
        assert upload(folder)["counts"]["sent"] == 0
    if declared:
        assert upload(folders[0], "--pace", "fast")["counts"]["sent"] == 0, "pace is no part of the address"
    listed = xnatctl("upload", "status", "-o", "json", env=env).document["uploads"]
    assert len(listed) == 2
    if declared:
        assert {row["server"] for row in listed} == {f"folder:{folder}" for folder in folders}
    for row in listed:
        assert xnatctl("upload", "resume", row["id"], env=env).code == 0


def test_a_journal_of_an_earlier_version_goes_on_for_its_own_address_alone(
    xnatctl, install, exam, folders, tmp_path, home
):
    """Its name did not tell addresses apart, and it named labels; what it says of its request decides."""
    env = install("drop", DROP.replace("DESTINATION", 'destination="dist_drop_drop:address_of",'))

    def upload(folder):
        command = ("session", "upload", exam.directory, "--mode", "drop", "--into", folder, "-o", "json")
        done = xnatctl(*command, env=env)
        assert done.code == 0, done.err
        return done

    upload(folders[0])
    journals = home / "state" / "xnatctl" / "journals"
    (path,) = journals.glob("*.sqlite")
    old = journal_key(Destination(server="", project="DEMO", subject="s", session="e"), str(exam.directory))
    path.rename(journals / f"{old}.sqlite")
    with closing(sqlite3.connect(journals / f"{old}.sqlite")) as db, db:
        (text,) = db.execute("SELECT value FROM meta WHERE key = 'destination'").fetchone()
        named = {**json.loads(text), "project": "DEMO", "subject": "s", "session": "e"}
        db.execute("UPDATE meta SET value = ? WHERE key = 'destination'", [json.dumps(named)])
    other = upload(folders[1])
    assert other.document["counts"]["sent"] == 3
    assert arrived(folders[1]) == set(exam.digests.values())
    assert upload(folders[0]).document["counts"]["sent"] == 0
    ids = {row["id"] for row in xnatctl("upload", "status", "-o", "json", env=env).document["uploads"]}
    assert len(ids) == 2
    assert old not in ids


def test_several_paths_in_any_order_and_no_default_project(xnatctl, install, folders, tmp_path):
    """A receiver gets no labels, so the default project of the profile is none of the upload's."""
    env = install("drop", DROP.replace("DESTINATION", 'destination="dist_drop_drop:address_of",'))
    exam = write_exam(tmp_path / "exam", series=3, instances=3, seed=5, clutter=False)
    assert xnatctl("config", "set-profile", "lab", "--url", "http://127.0.0.1:9", "--default-project", "LAB").code == 0
    one, two, three = (exam.directory / f"series {number}" for number in (1, 2, 3))

    def sent(*paths):
        done = xnatctl("session", "upload", *paths, "--mode", "drop", "--into", folders[0], "-o", "json", env=env)
        assert done.code == 0, done.err
        assert done.document["destination"]["project"] == ""
        assert "LAB" not in done.err
        return done.document["counts"]["sent"]

    assert sent(one, two) == 6
    assert sent(two, one, two) == 0
    assert sent(one, three) == 6, "another upload"
    rows = xnatctl("upload", "status", "-o", "json", env=env).document["uploads"]
    assert sorted(len(row["sources"]) for row in rows) == [2, 2]
    for row in rows:
        done = xnatctl("upload", "resume", row["id"], "-o", "json", env=env)
        assert (done.code, done.document["counts"]["sent"]) == (0, 0), done.err


def test_a_resumed_hand_over_sends_no_other_study(xnatctl, install, exam, folders, tmp_path):
    env = install("drop", DROP.replace("DESTINATION", ""))
    command = ("session", "upload", exam.directory, "--mode", "drop", "--into", folders[0], "-o", "json")
    assert xnatctl(*command, env=env).code == 0
    (row,) = xnatctl("upload", "status", "-o", "json", env=env).document["uploads"]
    exam.directory.rename(tmp_path / "away")
    write_exam(exam.directory, series=1, instances=2, seed=99, clutter=False)
    done = xnatctl("upload", "resume", row["id"], "-o", "json", env=env)
    assert done.code == 7
    assert "not part of the upload" in done.document["error"]["message"]
    assert arrived(folders[0]) == set(exam.digests.values())
    assert json.loads(done.out)["counts"]["sent"] == 0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--prearchive",), "--prearchive does not apply to --mode drop"),
        (("--direct-archive",), "--direct-archive does not apply to --mode drop"),
        (("--overwrite", "none"), "--overwrite does not"),
        (("--no-verify",), "--no-verify does not"),
        (("--verify", "checksum"), "--verify checksum does not"),
        (("--exact",), "--exact does not"),
        (("--split-studies", "--same-patient"), "--split-studies and --same-patient do not"),
        (("--wait", "9"), "--wait does not"),
        (("-P", "DEMO"), "-P/--project does not"),
        (("-P", "DEMO", "-S", "s", "-E", "e"), "-P/--project, -S/--subject and -E/--session do not"),
        (("--url", "http://127.0.0.1:9"), "--url does not"),
        (("--username", "u", "--insecure"), "--username and --insecure do not"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_options_that_mean_nothing_to_a_receiver_are_refused_by_name(xnatctl, install, exam, folders, flags, named):
    env = install("drop", DROP.replace("DESTINATION", 'destination="dist_drop_drop:address_of",'))
    for more in ((), ("--dry-run",)):
        done = xnatctl(
            "session", "upload", exam.directory, "--mode", "drop", "--into", folders[0], *flags, *more, env=env
        )
        assert done.code == 2, done.err
        assert named in done.err
        assert "--mode drop, which delivers to a receiver" in done.err
    assert not list(folders[0].iterdir())


def test_labels_are_missed_where_they_name_something(xnatctl, install, exam):
    env = install("drop", DROP.replace("DESTINATION", ""))
    assert "Missing: -P PROJECT, -S SUBJECT, -E SESSION." in xnatctl("session", "upload", "x", env=env).err
    assert "Missing: PATH." in xnatctl("session", "upload", "--mode", "drop", env=env).err


def test_a_login_means_nothing_to_a_resumed_upload(xnatctl, install, exam, folders):
    env = install("drop", DROP.replace("DESTINATION", 'destination="dist_drop_drop:address_of",'))
    assert xnatctl("session", "upload", exam.directory, "--mode", "drop", "--into", folders[0], env=env).code == 0
    (row,) = xnatctl("upload", "status", "-o", "json", env=env).document["uploads"]
    done = xnatctl("upload", "resume", row["id"], "--url", "http://127.0.0.1:9", env=env)
    assert done.code == 2
    assert "--url does not apply to this upload: drop delivers to a receiver" in done.err


@pytest.mark.parametrize("declared", [True, False])
def test_a_dry_run_names_the_receiver_and_no_session(xnatctl, install, exam, folders, declared):
    env = install("drop", DROP.replace("DESTINATION", 'destination="dist_drop_drop:address_of",' if declared else ""))
    env["XNAT_URL"] = "http://127.0.0.1:9"
    out = xnatctl("session", "upload", exam.directory, "--mode", "drop", "--into", folders[0], "--dry-run", env=env).out
    where = f"folder:{folders[0]}" if declared else "set by the options of drop"
    assert f"Receiver: {where}" in " ".join(out.split())
    assert "archive of project" not in out
    assert "127.0.0.1" not in out


def test_uploads_to_receivers_are_told_apart_by_address_and_folder(xnatctl, install, exam, folders, tmp_path):
    env = install("drop", DROP.replace("DESTINATION", 'destination="dist_drop_drop:address_of",'))
    other = write_exam(tmp_path / "more" / "exam", series=1, instances=2, seed=6, clutter=False)
    for source, folder in ((exam, folders[0]), (exam, folders[1]), (other, folders[0])):
        assert xnatctl("session", "upload", source.directory, "--mode", "drop", "--into", folder, env=env).code == 0
    rows = xnatctl("upload", "status", "-o", "json", env=env).document["uploads"]
    assert {(row["to"], row["root"], row["transport"]) for row in rows} == {
        (f"folder:{folders[0]}", str(exam.directory), "drop"),
        (f"folder:{folders[1]}", str(exam.directory), "drop"),
        (f"folder:{folders[0]}", str(other.directory), "drop"),
    }
    table = xnatctl("upload", "status", env={**env, "COLUMNS": "400"}).out
    lines = [line.split()[1:3] for line in table.splitlines() if line[:16] in {row["id"] for row in rows}]
    assert len({tuple(line) for line in lines}) == 3, table
    assert "more/exam" in table
    (only,) = [row for row in rows if row["to"] == f"folder:{folders[1]}"]
    one = xnatctl("upload", "status", f"folder:{folders[1]}", env=env)
    assert f"3 of 3 files delivered from {exam.directory} to folder:{folders[1]}: complete." in one.out
    twice = xnatctl("upload", "status", f"folder:{folders[0]}", env=env)
    assert twice.code == 2
    assert "names 2 uploads" in twice.err
    assert xnatctl("upload", "status", other.directory, "-o", "json", env=env).document["found"] == 2
    assert xnatctl("upload", "forget", only["id"], env=env).code == 0


def test_a_destination_that_nothing_would_use_is_said(xnatctl, install):
    source = DROP.replace("DESTINATION", 'destination="dist_drop_drop:address_of",').replace('settle="none", ', "")
    env = install("drop", source)
    done = xnatctl("plugins", "list", "--check", env=env)
    assert "destination, which is for settle='none' alone" in " ".join(done.out.split()), done.out
