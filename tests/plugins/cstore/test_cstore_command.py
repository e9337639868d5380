"""`session upload-dicom` as its users meet it: a process, its exit code, its report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile

import pytest
from systems import KILLED, needs_signals

COMMAND = ("session", "upload-dicom")


@pytest.fixture
def exam(mixed, tmp_path):
    return tmp_path / "exam", mixed.write(tmp_path / "exam", 40, studies=2)


def test_it_needs_no_xnat_no_login_and_reports_by_study(xnatctl, scripted, exam, dicom_env):
    folder, expected = exam
    receiver = scripted()
    done = xnatctl(*COMMAND, folder, "-o", "json", env=dicom_env(receiver.port))
    assert done.code == 0, done.err
    report = done.document
    assert report["command"] == "session upload-dicom"
    assert report["status"] == "complete"
    where = report["destination"]
    assert where["server"] == f"dicom://127.0.0.1:{receiver.port}/XNAT"
    assert (where["project"], where["subject"], where["session"], where["state"]) == ("", "", "", "receiver")
    assert report["verification"]["level"] == "none"
    assert (report["counts"]["found"], report["counts"]["sent"], report["counts"]["verified"]) == (40, 40, 0)
    assert len({item["study_instance_uid"] for item in report["items"]}) == 2
    assert receiver.digests == expected
    table = xnatctl(*COMMAND, folder, env=dicom_env(receiver.port))
    assert table.code == 0
    assert "Study" in table.out
    assert "archiving was not checked" in table.out
    assert "nothing had to be sent" in table.out
    quiet = xnatctl(*COMMAND, folder, "-q", env=dicom_env(receiver.port))
    assert sorted(quiet.out.split()) == sorted({item["study_instance_uid"] for item in report["items"]})


def test_dry_run_prints_parameters_contexts_and_counts_and_opens_nothing(xnatctl, scripted, exam):
    folder, _ = exam
    receiver = scripted()
    done = xnatctl(
        *COMMAND, folder, "--host", "127.0.0.1", "--port", str(receiver.port), "--called-aet", "SOME AE",
        "--calling-aet", "ME", "--workers", "3", "--dry-run",
    )  # fmt: skip
    assert done.code == 0, done.err
    for text in (
        "Would send 40 instances", "2 studies with 3 workers", f"receiver: 127.0.0.1:{receiver.port}",
        "called AE title: SOME AE", "calling AE title: ME", "TLS: no", "presentation contexts: 8",
        "CT Image Storage in JPEG 2000 Image Compression (Lossless Only): 5 files",
        "CT Image Storage in Deflated Explicit VR Little Endian: 5 files",
    ):  # fmt: skip
        assert text in done.out
    assert not receiver.talks
    document = xnatctl(*COMMAND, folder, "--host", "127.0.0.1", "--called-aet", "X", "--dry-run", "-o", "json").document
    assert document["transport"]["receiver"] == "127.0.0.1:104"
    assert document["transport"]["calling AE title"] == "XNATCTL"


def test_flag_before_variable_before_profile_before_default(xnatctl, home, exam):
    """Every option of the receiver, from each place that it may come from."""
    folder, _ = exam
    config = home / "config" / "xnatctl" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(
        "profiles:\n  site:\n    options:\n      host: from-profile\n      port: 1111\n      called_aet: PROFILE\n"
    )
    config.chmod(0o600)

    def parameters(*flags, **env):
        return xnatctl(*COMMAND, folder, "--dry-run", "-o", "json", *flags, env=env).document["transport"]

    said = parameters()
    assert (said["receiver"], said["called AE title"], said["calling AE title"]) == (
        "from-profile:1111", "PROFILE", "XNATCTL",
    )  # fmt: skip
    variables = {
        "XNAT_DICOM_HOST": "from-variable", "XNAT_DICOM_PORT": "2222", "XNAT_DICOM_CALLED_AET": "VARIABLE",
        "XNAT_DICOM_CALLING_AET": "ME", "XNAT_DICOM_ANSWER_TIMEOUT": "7", "XNAT_DICOM_TLS": "yes",
    }  # fmt: skip
    said = parameters(**variables)
    assert (said["receiver"], said["called AE title"], said["calling AE title"]) == (
        "from-variable:2222",
        "VARIABLE",
        "ME",
    )
    assert (said["answer timeout"], said["TLS"]) == ("7 s", "yes, trusting the system")
    said = parameters("--host", "from-flag", "--port", "3333", "--called-aet", "FLAG", "--no-tls", **variables)
    assert (said["receiver"], said["called AE title"], said["TLS"]) == ("from-flag:3333", "FLAG", "no")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "Missing: --host (or XNAT_DICOM_HOST), --called-aet (or XNAT_DICOM_CALLED_AET)."),
        (("--host", "h"), "Missing: --called-aet (or XNAT_DICOM_CALLED_AET)."),
        (("--host", "h", "--called-aet", "A" * 17), "--called-aet must be an AE title: 1 to 16"),
        (("--host", "h", "--called-aet", "A\\B"), "no backslash"),
        (("--host", "h", "--called-aet", "  "), "--called-aet must be an AE title"),
        (("--host", "h", "--called-aet", "X", "--calling-aet", "Ä"), "--calling-aet must be an AE title"),
        (("--host", "h", "--called-aet", "X", "--port", "0"), "--port must be between 1 and 65535"),
        (("--host", "h", "--called-aet", "X", "--port", "x"), "not a whole number"),
        (("--host", "dicom://h", "--called-aet", "X"), "--host must be a name or an address"),
        (("--host", "h:104", "--called-aet", "X"), "holds a port"),
        (("--host", "h", "--called-aet", "X", "--ca-cert", "x"), "--ca-cert has no effect without --tls"),
        (("--host", "h", "--called-aet", "X", "--tls", "--client-key", "x"), "--client-key needs --client-cert"),
        (("--host", "h", "--called-aet", "X", "--tls", "--ca-cert", "/nowhere.pem"), f"{os.sep}nowhere.pem"),
        (("--host", "h", "--called-aet", "X", "--answer-timeout", "0"), "--answer-timeout must be"),
        (("--host", "h", "--called-aet", "X", "--workers", "0"), "--workers"),
        (("--host", "h", "--called-aet", "X", "--echo", "--dry-run"), "exclude each other"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_receiver_is_said_before_anything_is_looked_at(xnatctl, exam, flags, message):
    done = xnatctl(*COMMAND, exam[0], *flags)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_without_a_path_only_echo_works(xnatctl, dicom_env):
    done = xnatctl(*COMMAND, env=dicom_env(1))
    assert done.code == 2
    assert "Missing: PATH.\nHint: Example: xnatctl session upload-dicom exam --host xnat.example.org " in done.err


def test_echo_says_what_the_receiver_is(xnatctl, scripted, dicom_env):
    receiver = scripted()
    done = xnatctl(*COMMAND, "--echo", env=dicom_env(receiver.port))
    assert done.code == 0, done.err
    assert "C-ECHO answered" in done.out
    assert "dcm4che-2.0 1.2.40.0.13.1.1 (dcm4che, which XNAT's receiver uses)" in done.out
    assert receiver.echoes == 1
    assert not receiver.stored


def test_echo_with_a_path_says_what_would_be_taken(xnatctl, scripted, exam, dicom_env, mixed):
    receiver = scripted(take=lambda sop_class, syntax: 4 if syntax == mixed.DEFLATED else 0)
    done = xnatctl(*COMMAND, exam[0], "--echo", "-o", "json", env=dicom_env(receiver.port))
    assert done.code == 5
    assert "would not take 5 of 40 files" in done.err
    document = done.document
    assert document["schema"] == "xnatctl.receiver/1"
    assert (document["implementation_version"], document["echo_status"]) == ("dcm4che-2.0", "0x0000")
    refused = [row for row in document["contexts"] if row["taken"] != "yes"]
    assert [(row["transfer_syntax"], row["files"]) for row in refused] == [("Deflated Explicit VR Little Endian", 5)]
    assert not receiver.stored


def test_echo_of_a_receiver_that_offers_none(xnatctl, scripted, dicom_env):
    receiver = scripted(take=lambda sop_class, syntax: 3 if sop_class == "1.2.840.10008.1.1" else 0)
    done = xnatctl(*COMMAND, "--echo", "-o", "json", env=dicom_env(receiver.port))
    assert done.code == 0
    assert done.document["echo_status"] is None


def test_echo_of_a_wrong_title_ends_with_what_to_check(xnatctl, scripted, dicom_env):
    receiver = scripted(associate=lambda talk: (1, 1, 7))
    done = xnatctl(*COMMAND, "--echo", "-o", "json", env=dicom_env(receiver.port, "WRONG"))
    assert done.code == 4
    assert done.document["error"]["code"] == "unreachable"
    assert "no AE title WRONG" in done.document["error"]["message"]
    assert "--called-aet" in done.document["error"]["hint"]


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ({"associate": lambda talk: (1, 1, 7)}, 4, "--called-aet must match"),
        ({"answer": lambda talk, number, instance: 0xA900}, 5, "0xA900"),
        ({"take": lambda sop_class, syntax: 4}, 5, "xnatctl does not convert files"),
        ({"answer": lambda talk, number, instance: 0xA900 if number == 3 else 0}, 5, "were not delivered"),
    ],
    ids=["rejected", "all refused", "no context", "some refused"],
)
def test_exit_codes_and_one_document_whatever_happens(xnatctl, scripted, exam, dicom_env, script, code, message):
    receiver = scripted(**script)
    done = xnatctl(*COMMAND, exam[0], "-o", "json", env=dicom_env(receiver.port))
    assert done.code == code
    assert message in done.err
    document = done.document
    assert document["error"]["exit_code"] == code
    assert document["next"] == [], "the same command would fail again"
    counts = document["counts"]
    assert counts["found"] == counts["sent"] + counts["skipped"] + counts["failed"] == 40


def test_nothing_to_send(xnatctl, tmp_path, dicom_env):
    (tmp_path / "empty").mkdir()
    done = xnatctl(*COMMAND, tmp_path / "empty", env=dicom_env(1))
    assert done.code == 2
    assert "is empty" in done.err


def test_session_upload_names_the_command_that_it_is(xnatctl, exam):
    done = xnatctl("session", "upload", exam[0], "-P", "P", "-S", "s", "-E", "e", "--mode", "cstore")
    assert done.code == 2
    assert "xnatctl session upload-dicom" in done.err
    assert "--called-aet" not in xnatctl("session", "upload", "--help").out
    assert "--compress" not in xnatctl(*COMMAND, "--help").out


@pytest.fixture
def bare(environment, tmp_path):
    """The command in an interpreter in which neither package can be found."""
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys, importlib.abc\n"
        "class Hidden(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('pydicom', 'pynetdicom'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "xnatctl", *map(str, arguments)],
            env={**environment, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


def test_without_the_extra_it_names_what_to_install(bare, tmp_path):
    done = bare(*COMMAND, tmp_path, "--host", "h", "--called-aet", "X")
    assert done.returncode == 8
    assert "pydicom and pynetdicom" in done.stderr
    assert "pip install pydicom pynetdicom" in done.stderr
    shown = bare(*COMMAND, "--help")
    assert shown.returncode == 0
    assert "--called-aet" in shown.stdout
    rows = json.loads(bare("plugins", "list", "-o", "json").stdout)["plugins"]
    (row,) = [row for row in rows if row["name"] == "cstore"]
    assert row["status"] == "unmet"
    assert "pynetdicom" in row["reason"]


def test_blocked_it_says_so(xnatctl, tmp_path):
    done = xnatctl(*COMMAND, tmp_path, env={"XNATCTL_BLOCK_PLUGINS": "cstore"})
    assert done.code == 8
    assert "cstore" in done.err


def test_resume_from_anywhere_with_the_same_parameters(xnatctl, scripted, exam, dicom_env, tmp_path):
    folder, expected = exam
    receiver = scripted(answer=lambda talk, number, instance: 0xA900 if instance == min(expected) else 0)
    first = xnatctl(*COMMAND, folder, "--workers", "1", env=dicom_env(receiver.port))
    assert first.code == 5
    (row,) = xnatctl("upload", "status", "-o", "json").document["uploads"]
    assert row["server"] == f"dicom://127.0.0.1:{receiver.port}/XNAT"
    assert (row["state"], row["undelivered"]) == ("incomplete", 1)
    receiver.answer = lambda talk, number, instance: 0
    done = xnatctl("upload", "resume", row["id"], "-o", "json")
    assert done.code == 0, done.err
    assert receiver.digests == expected
    assert done.document["counts"]["skipped"] == 39


def test_two_folders_two_journals_and_no_resume_starts_over(xnatctl, scripted, mixed, tmp_path, dicom_env):
    one, other = mixed.write(tmp_path / "one", 5, seed=1), mixed.write(tmp_path / "other", 5, seed=2)
    receiver = scripted()
    for folder in ("one", "other", "one"):
        assert xnatctl(*COMMAND, tmp_path / folder, env=dicom_env(receiver.port)).code == 0
    assert receiver.digests == {**one, **other}
    assert xnatctl(*COMMAND, tmp_path / "one", "--no-resume", env=dicom_env(receiver.port)).code == 0
    assert len(receiver.stored) == 15


@needs_signals  # tests/windows presses Ctrl-C there
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_at_once_and_the_same_command_finishes(
    xnatctl, environment, scripted, exam, dicom_env, number
):
    """One worker waits for an answer that does not come, the other goes on: both are ended."""
    folder, expected = exam
    held = threading.Event()

    def answer(talk, count, instance):
        if instance == sorted(expected)[20]:
            held.set()
            return "silent"
        if held.is_set():
            time.sleep(0.05)
        return 0

    receiver = scripted(answer=answer)
    env = dicom_env(receiver.port)
    running = subprocess.Popen(
        [sys.executable, "-m", "xnatctl", *COMMAND, str(folder), "--workers", "2", "-o", "json"],
        env={**environment, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert held.wait(60)
    os.kill(running.pid, number)
    out, err = running.communicate(timeout=100)  # the answer may take 120 s, so it was not waited for
    assert running.returncode == 128 + number, err
    report = json.loads(out)
    assert report["status"] == "interrupted"
    assert report["next"][0].startswith("xnatctl session upload-dicom")
    assert b"Traceback" not in err
    before = len(receiver.stored)
    receiver.answer = lambda talk, count, instance: 0
    again = xnatctl(*COMMAND, folder, "-o", "json", env=env)
    assert again.code == 0, again.err
    assert {entry.sop_instance for entry in receiver.stored} == set(expected)
    assert len(receiver.stored) - 40 <= 2, "at most one file for each worker goes again"
    assert again.document["counts"]["skipped"] >= before - 2


@pytest.mark.parametrize("after", [1, 7, 23])
def test_killed_and_resumed(xnatctl, environment, scripted, exam, dicom_env, after):
    """SIGKILL from xnatctl the receiver, when so many are stored: at most one file per worker goes again."""
    folder, expected = exam
    started = threading.Event()
    killed = threading.Event()
    box: dict[str, subprocess.Popen[bytes]] = {}

    def kill(talk, number):
        if len(receiver.stored) >= after and not killed.is_set():
            killed.set()
            assert started.wait(60)
            box["process"].kill()
            box["process"].wait()
        return ""

    receiver = scripted(after=kill)
    env = {**environment, **dicom_env(receiver.port)}
    box["process"] = subprocess.Popen(
        [sys.executable, "-m", "xnatctl", *COMMAND, str(folder), "--workers", "3"],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    started.set()
    assert box["process"].wait(timeout=100) == KILLED
    receiver.after = lambda talk, number: ""
    done = xnatctl(*COMMAND, folder, "--workers", "3", "-o", "json", env=dicom_env(receiver.port))
    assert done.code == 0, done.err
    assert {entry.sop_instance for entry in receiver.stored} == set(expected)
    assert len(receiver.stored) <= 40 + 3
    counts = done.document["counts"]
    assert counts["sent"] + counts["skipped"] == 40
    assert counts["skipped"] >= after - 3


def test_a_ready_made_archive_with_a_capital_suffix_and_a_single_file(xnatctl, scripted, exam, dicom_env, tmp_path):
    folder, expected = exam
    with zipfile.ZipFile(tmp_path / "EXAM.ZIP", "w") as bundle:
        for path in folder.iterdir():
            bundle.write(path, path.name)
    receiver = scripted()
    assert xnatctl(*COMMAND, tmp_path / "EXAM.ZIP", env=dicom_env(receiver.port)).code == 0
    assert receiver.digests == expected
    single = scripted()
    assert xnatctl(*COMMAND, min(folder.iterdir()), env=dicom_env(single.port)).code == 0
    assert len(single.digests) == 1


def test_the_same_instance_twice_with_different_bytes_is_refused(xnatctl, scripted, exam, dicom_env):
    folder, _ = exam
    first = min(folder.iterdir())
    (folder / "other").write_bytes(first.read_bytes() + b"..")
    receiver = scripted()
    done = xnatctl(*COMMAND, folder, env=dicom_env(receiver.port))
    assert done.code == 7
    assert "claim to be the same instance" in done.err
    assert not receiver.talks


def test_patient_data_stays_out_of_log_and_journal(xnatctl, scripted, exam, dicom_env, tmp_path, home):
    receiver = scripted(answer=lambda talk, number, instance: 0xC000 if number == 3 else 0)
    log = tmp_path / "run.jsonl"
    xnatctl(*COMMAND, exam[0], "--log-file", log, "-vv", env=dicom_env(receiver.port))
    assert "item-done" in log.read_text()
    journals = b"".join(path.read_bytes() for path in (home / "state").rglob("*.sqlite*"))
    for text in (b"Phantom^Synthetic", b"PHANTOM"):
        assert text not in log.read_bytes()
        assert text not in journals


@pytest.mark.parametrize(
    ("more", "address"),
    [
        ({}, "dicom://xnat.example.org:104/XNAT"),
        ({"host": "XNAT.example.ORG"}, "dicom://xnat.example.org:104/XNAT"),
        ({"port": 8104}, "dicom://xnat.example.org:8104/XNAT"),
        ({"called_aet": "xnat 2"}, "dicom://xnat.example.org:104/xnat%202"),
        ({"calling_aet": "SCANNER"}, "dicom://xnat.example.org:104/XNAT?calling=SCANNER"),
        ({"tls": True}, "dicoms://xnat.example.org:104/XNAT"),
        ({"answer_timeout": 5.0}, "dicom://xnat.example.org:104/XNAT"),
        ({"host": "[::1]"}, "dicom://[::1]:104/XNAT"),
    ],
)
def test_what_makes_another_address(more, address):
    from xnatctl_cstore.receiver import address_of

    options = {"host": "xnat.example.org", "port": 104, "called_aet": "XNAT", "calling_aet": "XNATCTL"}
    assert address_of({**options, "answer_timeout": 120.0, **more}) == address


def test_a_damaged_file_is_named_and_not_sent(xnatctl, scripted, exam, dicom_env):
    folder, expected = exam
    path = min(path for path in folder.rglob("*") if path.is_file())
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    receiver = scripted()
    done = xnatctl(*COMMAND, folder, "-o", "json", env=dicom_env(receiver.port))
    assert done.code == 5, done.err
    (item,) = (item for item in done.document["items"] if item["outcome"] == "invalid")
    assert item["path"] == str(path.relative_to(folder))
    assert "damaged: ends " in item["reason"]
    assert len(receiver.digests) == len(expected) - 1
    path.write_bytes(whole)
    assert xnatctl(*COMMAND, folder, env=dicom_env(receiver.port)).code == 0
    assert receiver.digests == expected


def test_a_file_that_appears_while_the_others_are_sent_is_named(xnatctl, scripted, exam, dicom_env):
    folder, expected = exam
    late = min(path for path in folder.rglob("*") if path.is_file())
    aside = late.rename(folder.parent / "aside")

    def answer(talk, number, instance):
        if aside.exists():
            aside.rename(late)
        return 0

    receiver = scripted(answer=answer)
    done = xnatctl(*COMMAND, folder, "--workers", "1", "-o", "json", env=dicom_env(receiver.port))
    assert done.code == 5, done.err
    assert "appeared or changed while the upload ran" in done.document["error"]["message"]
    assert len(receiver.digests) == len(expected) - 1
    assert xnatctl(*COMMAND, folder, env=dicom_env(receiver.port)).code == 0
    assert receiver.digests == expected
