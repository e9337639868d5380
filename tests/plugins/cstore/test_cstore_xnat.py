"""To an XNAT's receiver, and from there to the archive: what arrived, and what can be said of it."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

pytest.importorskip("werkzeug", reason="the sandbox extra is not installed")

from xnatctl_sandbox.server import Sandbox

pytestmark = pytest.mark.once

COMMAND = ("session", "upload-dicom")
COMMENTS = "Project:DEMO Subject:subj01 Session:sess01"


@pytest.fixture
def sandbox(tmp_path):
    with Sandbox(tmp_path / "xnat", dicom_port=0) as server:
        yield server


@pytest.fixture
def alice(sandbox, dicom_env):
    return {
        **dicom_env(sandbox.dicom_port),
        "XNAT_URL": sandbox.url,
        "XNAT_USER": "alice",
        "XNAT_PASS": "alice",
    }


@pytest.fixture
def quiet_time(sandbox):
    """When so many instances have arrived, the site's idle jobs run, as they would after five quiet minutes.

    `seen`: and when somebody has looked at the prearchive. Whoever never saw the row of a study has to wait for it.
    """
    stop = threading.Event()
    threads = []

    def start(count, *, seen=False):
        before = len(sandbox.requests)

        def looked():
            return any("/data/prearchive/" in entry["path"] for entry in list(sandbox.requests)[before:])

        def run():
            while not stop.wait(0.05):
                if len(sandbox.instances()) >= count and (looked() or not seen):
                    sandbox.advance_clock(301)
                    sandbox.tick()
                    rows = [row for row in sandbox.state.prearchive if row.status not in ("READY", "CONFLICT")]
                    if not rows and not sandbox.state.direct:
                        return

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()


def arrived(sandbox):
    """SHA-256 of the data sets by SOP Instance UID, each once."""
    found = sandbox.instances()
    assert max(Counter(entry["sop_instance_uid"] for entry in found).values(), default=1) == 1
    return {entry["sop_instance_uid"]: entry["dataset_sha256"] for entry in found}


# sending


def test_every_syntax_that_xnat_takes_arrives_byte_for_byte(xnatctl, sandbox, alice, mixed, tmp_path):
    expected = mixed.write(
        tmp_path / "exam", 160, syntaxes=mixed.OF_XNAT, classes=(mixed.CT, mixed.MR), comments=COMMENTS
    )
    done = xnatctl(*COMMAND, tmp_path / "exam", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert arrived(sandbox) == expected
    assert not [r for r in sandbox.requests if r["path"] != "/"], "no HTTP at all"
    assert done.document["destination"]["state"] == "receiver"


def test_data_sets_of_odd_length_arrive_and_are_verified(xnatctl, sandbox, alice, quiet_time, mixed, tmp_path):
    expected = mixed.write_odd(tmp_path / "exam", syntaxes=mixed.OF_XNAT, comments=COMMENTS)
    quiet_time(len(expected))
    done = xnatctl(*COMMAND, tmp_path / "exam", "--verify", "-P", "DEMO", "-o", "json", env=alice)
    assert done.code == 0, done.err
    found = arrived(sandbox)
    assert set(found) == set(expected)
    anew = {mixed.uid("odd", f"in the middle {name}") for name in ("implicit", "explicit", "big endian")}
    assert {uid for uid in found if found[uid] != expected[uid]} == anew, "XNAT writes the head of a data set anew"
    assert done.document["counts"]["verified"] == len(expected)


def test_what_xnat_does_not_take_is_named(xnatctl, sandbox, alice, mixed, tmp_path):
    expected = mixed.write(tmp_path / "exam", 12, syntaxes=(mixed.EXPLICIT, mixed.DEFLATED), comments=COMMENTS)
    done = xnatctl(*COMMAND, tmp_path / "exam", "-o", "json", env=alice)
    assert done.code == 5
    refused = {item["sop_instance_uid"] for item in done.document["items"] if item["outcome"] == "rejected"}
    assert len(refused) == 6
    assert "Deflated Explicit VR Little Endian" in done.err
    assert set(arrived(sandbox)) == set(expected) - refused


def test_a_hundred_and_thirty_contexts(xnatctl, sandbox, alice, mixed, tmp_path):
    from xnatctl_sandbox.dicom.contexts import STORAGE

    classes = sorted(STORAGE)[:26]
    syntaxes = (mixed.IMPLICIT, mixed.EXPLICIT, mixed.BIG_ENDIAN, mixed.JPEG, mixed.RLE)
    expected = mixed.write(tmp_path / "exam", 130, syntaxes=syntaxes, classes=classes, comments=COMMENTS)
    done = xnatctl(*COMMAND, tmp_path / "exam", "--workers", "2", env=alice)
    assert done.code == 0, done.err
    assert arrived(sandbox) == expected


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "abort", "nth": 4, "per": "association"},
        {"action": "cut", "nth": 3, "per": "association"},
        {"action": "store-then-abort", "nth": [5, 9]},
        {"action": "store-then-cut", "nth": [2, 11]},
        {"action": "status", "status": 0xC000, "comment": "unable to read DICOM object null", "nth": [3, 8, 20]},
        {"action": "status", "status": 0xA700, "nth": [1, 2, 3]},
        {"action": "status", "status": 0xB000, "nth": "every"},
        {"action": "reject", "reason": "too-many", "nth": [2, 3]},
    ],
    ids=lambda rule: f"{rule['action']} {rule.get('status', '')}",
)
def test_trouble_costs_nothing(deliver, sandbox, mixed, tmp_path, rule):
    expected = mixed.write(tmp_path / "exam", 40, syntaxes=mixed.OF_XNAT, comments=COMMENTS)
    sandbox.dicom_faults.load([rule])
    done = deliver(tmp_path / "exam", sandbox.dicom_port, workers=3)
    assert done.error is None, done.reasons
    assert arrived(sandbox) == expected
    notes = [item.note for item in done.report.items if item.note]
    assert len(notes) == (40 if rule.get("status") == 0xB000 else 0)


def test_the_wrong_title_and_a_caller_that_is_not_known(xnatctl, sandbox, alice, mixed, tmp_path):
    mixed.write(tmp_path / "exam", 2, comments=COMMENTS)
    done = xnatctl(*COMMAND, tmp_path / "exam", "--called-aet", "xnat", env=alice)
    assert done.code == 4
    assert "no AE title xnat" in done.err
    sandbox.add_scp("GUARDED", whitelist_enabled=True, whitelist=("SCANNER",))
    done = xnatctl(*COMMAND, tmp_path / "exam", "--called-aet", "GUARDED", env=alice)
    assert done.code == 4
    assert "does not accept the caller XNATCTL" in done.err
    done = xnatctl(
        *COMMAND, tmp_path / "exam", "--called-aet", "GUARDED", "--calling-aet", "SCANNER", "--echo", env=alice
    )
    assert "C-ECHO answered" in done.out
    assert "dcm4che-2.0" in done.out


# following


def test_verify_follows_the_study_into_the_archive(xnatctl, sandbox, alice, mixed, tmp_path, quiet_time):
    expected = mixed.write(tmp_path / "exam", 24, syntaxes=mixed.OF_XNAT[:3], comments=COMMENTS)
    quiet_time(24)
    done = xnatctl(*COMMAND, tmp_path / "exam", "--verify", "-P", "DEMO", "-o", "json", env=alice)
    assert done.code == 0, done.err
    report = done.document
    where = report["destination"]
    assert (where["state"], where["project"], where["subject"], where["session"]) == (
        "archived", "DEMO", "subj01", "sess01",
    )  # fmt: skip
    assert where["uri"].startswith("/data/experiments/")
    assert report["verification"]["level"] in ("uid", "size")
    assert report["counts"]["verified"] == 24
    (study,) = report["studies"]
    assert (study["state"], study["session"], study["uri"]) == ("archived", "sess01", where["uri"])
    assert arrived(sandbox) == expected
    assert {entry["place"] for entry in sandbox.instances()} == {"archive"}
    again = xnatctl(*COMMAND, tmp_path / "exam", "--verify", "-P", "DEMO", env=alice)
    assert again.code == 0, again.err
    assert "24 of 24 instances archived as sess01 in project DEMO (nothing had to be sent" in again.out
    check = xnatctl("session", "verify", tmp_path / "exam", "-P", "DEMO", "-S", "subj01", "-E", "sess01", env=alice)
    assert check.code == 0, check.err


def test_when_it_is_not_archived_in_time_the_next_command_is_named(xnatctl, sandbox, alice, mixed, tmp_path):
    mixed.write(tmp_path / "exam", 6, comments=COMMENTS, syntaxes=mixed.OF_XNAT[:2])
    arguments = (*COMMAND, tmp_path / "exam", "--verify", "-P", "DEMO", "--wait", "1", "-o", "json")
    done = xnatctl(*arguments, env=alice)
    assert done.code == 6
    report = done.document
    assert report["status"] == "partial"
    assert report["destination"]["state"] == "prearchive"
    assert "not in the archive after 1 s: it is RECEIVING" in report["error"]["message"]
    again = f"xnatctl session upload-dicom {tmp_path}/exam --verify -P DEMO --wait 1 -o json"
    assert report["next"] == [f"{again} --url {sandbox.url}"]
    assert any("up to 6 min after its last file" in warning for warning in report["warnings"])
    assert "up to 6 min after its last file" in report["error"]["hint"]
    assert "again" not in report["error"]["hint"], "the next command follows"
    told = done.err.splitlines()
    assert [told.index(line) for line in told if line.startswith(("Error:", "Hint:", "Next:"))] == sorted(
        told.index(next(line for line in told if line.startswith(kind))) for kind in ("Error:", "Hint:", "Next:")
    )
    assert told[-1].startswith("Next: xnatctl session upload-dicom ")
    (row,) = xnatctl("upload", "status", "-o", "json").document["uploads"]
    assert row["state"] == "delivered, not settled"
    sandbox.advance_clock(301)
    sandbox.tick()
    before = len(sandbox.associations)
    resumed = xnatctl("upload", "resume", row["id"], "-o", "json", env={**alice, "XNAT_URL": ""})
    assert resumed.code == 0, resumed.err
    assert resumed.document["counts"]["verified"] == 6
    assert resumed.document["warnings"] == [], "it is archived already"
    assert len(sandbox.associations) == before, "nothing was sent again"


def test_a_project_that_leaves_archiving_to_people(xnatctl, sandbox, alice, mixed, tmp_path, quiet_time):
    mixed.write(tmp_path / "exam", 6, comments="Project:MANUAL Subject:s1 Session:e1", syntaxes=mixed.OF_XNAT[:2])
    quiet_time(6)
    done = xnatctl(*COMMAND, tmp_path / "exam", "--verify", "-P", "MANUAL", "-o", "json", env=alice)
    assert done.code == 6
    report = done.document
    assert report["destination"]["state"] == "prearchive"
    assert "waits in the prearchive of project MANUAL" in report["error"]["message"]
    command = report["next"][0]
    assert command.startswith("xnatctl prearchive archive MANUAL ")
    assert xnatctl(*command.split()[1:], env=alice).code == 0
    again = xnatctl(*COMMAND, tmp_path / "exam", "--verify", "-P", "MANUAL", env=alice)
    assert again.code == 0, again.err


def test_several_studies_are_followed_together(xnatctl, sandbox, alice, mixed, tmp_path, quiet_time):
    """Each has its own patient ID, which is what becomes the session's label where no comment says more."""
    expected = {}
    for number in range(3):
        expected |= mixed.write(
            tmp_path / "exam" / str(number), 5, seed=number, syntaxes=mixed.OF_XNAT[:2],
            comments=f"Project:DEMO Subject:s{number} Session:e{number}",
        )  # fmt: skip
    quiet_time(15)
    done = xnatctl(*COMMAND, tmp_path / "exam", "--verify", "-P", "DEMO", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert {study["session"] for study in done.document["studies"]} == {"e0", "e1", "e2"}
    assert done.document["counts"]["verified"] == 15
    assert arrived(sandbox) == expected
    table = xnatctl(*COMMAND, tmp_path / "exam", "--verify", "-P", "DEMO", env=alice)
    assert "15 of 15 instances archived in project DEMO" in table.out
    assert "archived as e1: /data/experiments/" in table.out


def test_what_a_filter_dropped_is_named(deliver, sandbox, mixed, tmp_path, quiet_time, monkeypatch):
    """0000 for an object that was thrown away: only counting reveals it."""
    monkeypatch.setattr("xnatctl_cstore.follow._LAGS", 0.5)
    expected = mixed.write(tmp_path / "exam", 8, comments=COMMENTS, syntaxes=mixed.OF_XNAT[:2])
    dropped = sorted(expected)[:3]
    sandbox.switches.rejected_instances = set(dropped)
    quiet_time(5, seen=True)
    done = deliver(tmp_path / "exam", sandbox.dicom_port, workers=1, follow=(sandbox.url, "DEMO", "alice"))
    assert done.error is not None
    assert done.error.exit_code == 6
    assert "does not hold what is on disk: 3 differences" in done.error.message
    assert sorted(item.sop_instance_uid for item in done.report.items if item.outcome == "missing") == dropped
    # The filter is gone: the same again sends what is missing, and nothing else.
    sandbox.switches.rejected_instances = set()
    quiet_time(8)
    again = deliver(tmp_path / "exam", sandbox.dicom_port, workers=1, follow=(sandbox.url, "DEMO", "alice"))
    assert again.error is None
    assert (again.report.counts.sent, again.report.counts.verified) == (3, 8)
    assert arrived(sandbox) == expected


def test_a_study_that_went_elsewhere_is_not_claimed(deliver_and_follow, sandbox, mixed, tmp_path):
    """Without a project in its headers it is in Unassigned, which its sender may not see."""
    mixed.write(tmp_path / "exam", 4, syntaxes=mixed.OF_XNAT[:2])
    done = deliver_and_follow(tmp_path / "exam", appears=0.5)
    assert done.error is not None
    assert done.error.exit_code == 6
    assert "does not show it" in done.error.message
    assert "Unassigned" in (done.error.hint or "")
    assert done.report.state == "receiver"


def test_a_study_of_which_nothing_shows_is_sent_again(deliver_and_follow, sandbox, mixed, tmp_path):
    """The receiver accepted every instance, and believing it would end every rerun alike."""
    mixed.write(tmp_path / "exam", 4, syntaxes=mixed.OF_XNAT[:2])
    for _ in range(3):
        done = deliver_and_follow(tmp_path / "exam", appears=0.5)
        assert done.error is not None
        assert "The same command sends it again" in (done.error.hint or "")
        assert done.report.counts.sent == 4


@pytest.fixture
def deliver_and_follow(deliver, sandbox, monkeypatch):
    """In this process, with another patience."""

    def run(path, *, appears):
        monkeypatch.setattr("xnatctl_cstore.follow._APPEARS", appears)
        return deliver(path, sandbox.dicom_port, follow=(sandbox.url, "DEMO", "alice"))

    return run


def test_a_second_copy_that_conflicts_is_shown_with_the_servers_reason(deliver, sandbox, mixed, tmp_path, quiet_time):
    """The archive has the same files already, so XNAT does not merge them by itself."""
    mixed.write(tmp_path / "exam", 4, comments=COMMENTS, syntaxes=mixed.OF_XNAT[:2])
    quiet_time(4)
    follow = (sandbox.url, "DEMO", "alice")
    assert deliver(tmp_path / "exam", sandbox.dicom_port, follow=follow).error is None
    (tmp_path / f"journal-{sandbox.dicom_port}.sqlite").unlink()
    quiet_time(8)
    done = deliver(tmp_path / "exam", sandbox.dicom_port, follow=follow)
    assert done.error is not None
    assert done.error.exit_code == 6
    assert "the session is CONFLICT" in done.error.message
    assert "xnatctl prearchive show DEMO " in (done.error.hint or "")
    assert done.report.state == "prearchive"


def test_a_receiver_that_files_into_the_archive_at_once(deliver, sandbox, mixed, tmp_path, quiet_time):
    """There is no prearchive row to be seen, so patience is all there is."""
    sandbox.add_scp("XNAT2", direct_archive=True)
    expected = mixed.write(tmp_path / "exam", 4, comments=COMMENTS, syntaxes=mixed.OF_XNAT[:2])
    quiet_time(4)
    done = deliver(tmp_path / "exam", sandbox.dicom_port, called_aet="XNAT2", follow=(sandbox.url, "DEMO", "alice"))
    assert done.error is None
    assert done.report.state == "archived"
    assert arrived(sandbox) == expected


def test_a_session_whose_study_has_another_uid_is_found_by_its_label(
    deliver, deliver_and_follow, sandbox, mixed, tmp_path, quiet_time
):
    """As anonymisation of UIDs would leave it; without the label nothing is claimed."""
    mixed.write(tmp_path / "exam", 4, comments=COMMENTS, syntaxes=mixed.OF_XNAT[:2])
    quiet_time(4)
    follow = (sandbox.url, "DEMO", "alice")
    assert deliver(tmp_path / "exam", sandbox.dicom_port, follow=follow).error is None
    (experiment,) = sandbox.state.experiments.values()
    experiment.uid = "1.2.3.4"
    lost = deliver_and_follow(tmp_path / "exam", appears=0.2)
    assert lost.error is not None
    assert lost.error.exit_code == 6
    found = deliver(tmp_path / "exam", sandbox.dicom_port, follow=follow, label="sess01")
    assert found.error is None
    assert found.report.destination.session == "sess01"


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--verify",), 2, "Missing: -P PROJECT."),
        (("-P", "DEMO"), 2, "--project requires --verify"),
        (("--wait", "5"), 2, "--wait requires --verify"),
        (("--url", "http://x"), 2, "--url requires --verify"),
        (("--verify", "-P", "DEMO", "--echo"), 2, "--echo sends nothing"),
        (("--verify", "-P", "NOWHERE"), 2, "has no project NOWHERE"),
        (("--verify", "-P", "DEMO", "--username", "alice", "--password", "wrong"), 3, ""),
    ],
)
def test_what_verify_needs_is_known_before_anything_is_sent(
    xnatctl, sandbox, alice, mixed, tmp_path, flags, code, message
):
    mixed.write(tmp_path / "exam", 2, comments=COMMENTS)
    done = xnatctl(*COMMAND, tmp_path / "exam", *flags, env=alice)
    assert done.code == code
    assert message in done.err
    assert not sandbox.instances()


def test_a_dry_run_with_verify_logs_in_nowhere(xnatctl, sandbox, alice, mixed, tmp_path):
    mixed.write(tmp_path / "exam", 2, comments=COMMENTS)
    done = xnatctl(*COMMAND, tmp_path / "exam", "--verify", "-P", "DEMO", "--dry-run", env=alice)
    assert done.code == 0
    assert "Find each study in project DEMO" in done.out
    assert not sandbox.requests


# what proves nothing


def test_an_older_copy_in_another_session_does_not_prove_what_is_sent_now(
    deliver, deliver_and_follow, xnatctl, sandbox, alice, mixed, tmp_path
):
    """Without a project in its headers what is sent now goes to Unassigned, where its sender cannot see it."""
    mixed.write(tmp_path / "exam", 4, syntaxes=mixed.OF_XNAT[:2])
    old = ("-P", "DEMO", "-S", "subj", "-E", "old")
    assert xnatctl("session", "upload", tmp_path / "exam", *old, env=alice).code == 0
    for _ in range(2):
        done = deliver_and_follow(tmp_path / "exam", appears=0.5)
        assert done.error is not None
        assert done.error.exit_code == 6
        assert "Session old" in done.error.message
        assert "before this upload" in done.error.message
        assert not done.report.next, "the same command would end the same"
        assert not [item for item in done.report.items if item.outcome == "verified"]
    # Whoever knows that this session is meant says so.
    named = deliver(tmp_path / "exam", sandbox.dicom_port, follow=(sandbox.url, "DEMO", "alice"), label="old")
    assert named.error is None


def test_a_copy_that_may_be_older_than_an_upload_that_did_not_look_proves_nothing(
    xnatctl, sandbox, alice, mixed, tmp_path
):
    """The first run does not log in, so nothing tells whether the session held the study before it."""
    mixed.write(tmp_path / "exam", 4, syntaxes=mixed.OF_XNAT[:2])
    old = ("-P", "DEMO", "-S", "subj", "-E", "old")
    assert xnatctl("session", "upload", tmp_path / "exam", *old, env=alice).code == 0
    sent = (*COMMAND, tmp_path / "exam")
    assert xnatctl(*sent, env=alice).code == 0
    for _ in range(2):
        done = xnatctl(*sent, "--verify", "-P", "DEMO", "--wait", "1", "-o", "json", env=alice)
        assert done.code == 6
        assert "Session old" in done.document["error"]["message"]
        assert done.document["counts"]["verified"] == 0
        assert "-E old" in done.document["error"]["hint"]
    named = xnatctl(*sent, "--verify", "-P", "DEMO", "--session", "old", "-o", "json", env=alice)
    assert named.code == 0, named.err
    assert named.document["counts"]["verified"] == 4


def test_an_upload_that_did_not_look_is_followed_from_the_prearchive(
    xnatctl, sandbox, alice, mixed, tmp_path, quiet_time
):
    """Its row shows that the data arrived with it, whatever the session becomes."""
    expected = mixed.write(tmp_path / "exam", 6, comments=COMMENTS, syntaxes=mixed.OF_XNAT[:2])
    assert xnatctl(*COMMAND, tmp_path / "exam", env=alice).code == 0
    quiet_time(6, seen=True)
    done = xnatctl(*COMMAND, tmp_path / "exam", "--verify", "-P", "DEMO", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert done.document["counts"]["verified"] == 6
    assert arrived(sandbox) == expected


def test_a_session_that_is_named_is_the_only_one_that_counts(
    deliver, sandbox, mixed, tmp_path, quiet_time, monkeypatch
):
    mixed.write(tmp_path / "exam", 4, comments=COMMENTS, syntaxes=mixed.OF_XNAT[:2])
    quiet_time(4)
    follow = (sandbox.url, "DEMO", "alice")
    assert deliver(tmp_path / "exam", sandbox.dicom_port, follow=follow).error is None
    monkeypatch.setattr("xnatctl_cstore.follow._APPEARS", 0.2)
    other = deliver(tmp_path / "exam", sandbox.dicom_port, follow=follow, label="other")
    assert other.error is not None
    assert other.error.exit_code == 6


def test_labels_that_xnat_makes_of_the_patient_are_not_repeated(xnatctl, sandbox, alice, mixed, tmp_path, quiet_time):
    """Without a label in the comments the receiver takes subject and session from name and ID of the patient."""
    import pydicom

    mixed.write(tmp_path / "exam", 4, comments="Project:DEMO", syntaxes=mixed.OF_XNAT[:2])
    for path in (tmp_path / "exam").iterdir():
        ds = pydicom.dcmread(path)
        ds.PatientID, ds.PatientName = "C4N4RY77", "Canarydoe"
        ds.save_as(path)
    command = (*COMMAND, tmp_path / "exam", "--verify", "-P", "DEMO", "-vv", "--log-file", tmp_path / "log")
    waiting = xnatctl(*command, "--wait", "1", env=alice)
    assert waiting.code == 6
    quiet_time(4)
    done = xnatctl(*command, "-o", "json", env=alice)
    assert done.code == 0, done.err
    labels = {experiment.label for experiment in sandbox.state.experiments.values()}
    assert labels & {"C4N4RY77", "Canarydoe"}, "the server made the label of the patient"
    written = waiting.out + waiting.err + done.out + done.err + (tmp_path / "log").read_text()
    assert "C4N4RY77" not in written
    assert "Canarydoe" not in written
    assert "[patient]" in written


def test_a_study_that_the_project_holds_under_another_label_is_warned_about(xnatctl, alice, mixed, tmp_path):
    mixed.write(tmp_path / "exam", 2, syntaxes=mixed.OF_XNAT, comments=COMMENTS)
    first = ("session", "upload", tmp_path / "exam", "-P", "DEMO", "-S", "ann", "-E", "ann_mr")
    assert xnatctl(*first, env=alice).code == 0
    follow = (*COMMAND, tmp_path / "exam", "--verify", "-P", "DEMO", "--wait", "0", "-o", "json")
    for label, count in (("sess01", 1), ("ann_mr", 0)):
        done = xnatctl(*follow, "-E", label, "--no-resume", env=alice)
        told = [text for text in done.document["warnings"] if "already holds this study" in text]
        assert len(told) == count, done.err
    assert not any("already holds" in text for text in xnatctl(*follow, env=alice).document["warnings"])
