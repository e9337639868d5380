"""Every mode, number of workers, place and policy ends with exactly what is on disk, once, in one session."""

from __future__ import annotations

import os
import shutil

import pytest

from xnatctl.operating_system.command_line import split_command

MODES = ("tar", "zip", "gradual")
ONCE = pytest.mark.once


def names(label="sess01"):
    return ("-P", "DEMO", "-S", "subj01", "-E", label)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=ONCE), 4, pytest.param(8, marks=ONCE)])
@pytest.mark.parametrize("mode", MODES)
def test_a_new_session_is_archived(xnatctl, sandbox, alice, large_exam, assert_exactly, mode, workers):
    done = xnatctl(
        "session",
        "upload",
        large_exam.directory,
        *names(),
        "--mode",
        mode,
        "--workers",
        str(workers),
        "-o",
        "json",
        env=alice,
    )
    assert done.code == 0, done.err
    report = done.document
    assert report["status"] == "complete"
    assert report["destination"]["state"] == "archived"
    assert report["verification"] | {"ok": True, "differences": []} == report["verification"]
    assert report["counts"]["found"] == report["counts"]["sent"] == report["counts"]["verified"] == 300
    assert_exactly(sandbox, large_exam.digests, place="archive", label="sess01")


@pytest.mark.once
@pytest.mark.parametrize("mode", ["tar", *(pytest.param(mode, marks=pytest.mark.lab) for mode in ("zip", "gradual"))])
def test_headers_that_the_server_writes_anew(xnatctl, sandbox, alice, device_exam, assert_exactly, mode):
    """Preamble, group lengths and lengths of sequences are not kept: other sizes and sums, the same data sets."""
    for command in ("upload", "verify"):
        more = ("--mode", mode) if command == "upload" else ()
        done = xnatctl("session", command, device_exam.directory, *names(), *more, "-o", "json", env=alice)
        assert done.code == 0, done.err
        assert done.document["verification"] | {"ok": True, "differences": []} == done.document["verification"]
    assert_exactly(sandbox, device_exam.digests, place="archive", label="sess01")
    assert not {*device_exam.digests.values()} & {entry["sha256"] for entry in sandbox.instances()}


@pytest.mark.parametrize("workers", [pytest.param(1, marks=ONCE), 8])
@pytest.mark.parametrize("mode", MODES)
def test_prearchive_stages_and_stops_there(xnatctl, sandbox, alice, large_exam, assert_exactly, mode, workers):
    done = xnatctl(
        "session", "upload", large_exam.directory, *names(), "--mode", mode, "--workers", str(workers), "--prearchive",
        "-o", "json", env=alice,
    )  # fmt: skip
    assert done.code == 0, done.err
    report = done.document
    assert report["destination"]["state"] == "prearchive"
    assert report["verification"]["level"] == "counted"
    assert report["verification"]["ok"] is True
    assert_exactly(sandbox, large_exam.digests, place="prearchive", label="sess01")
    (row,) = sandbox.state.prearchive
    assert row.status == "READY"
    assert report["next"][0].startswith(f"xnatctl prearchive archive DEMO {row.timestamp} sess01")


@ONCE
def test_the_command_that_archives_names_the_server_that_was_named(xnatctl, alice, exam):
    login = {key: value for key, value in alice.items() if key != "XNAT_URL"}
    arguments = (
        "session",
        "upload",
        exam.directory,
        *names(),
        "--prearchive",
        "--url",
        alice["XNAT_URL"],
        "-o",
        "json",
    )
    done = xnatctl(*arguments, env=login)
    assert done.code == 0, done.err
    program, *words = split_command(done.document["next"][0])
    assert program == "xnatctl"
    archived = xnatctl(*words, env=login)
    assert archived.code == 0, archived.err


NO_DIRECT = "XNAT {} has no direct archive (1.8.4 or later): the session goes through the prearchive and is archived from there."
NO_TAR = "This server is older than XNAT 1.8.3 and cannot read tar; sending zip instead."
UNKNOWN = (
    "The server does not report a version (it returns 'Unknown'), so it may have no direct archive: "
    "the session goes through the prearchive and is archived from there."
)
UNKNOWN_TAR = "The server does not report its version, and XNAT before 1.8.3 cannot read tar; sending zip instead."
INSTEAD = {
    "1.7.7": (NO_DIRECT, NO_TAR),
    "1.8.0": (NO_DIRECT, NO_TAR),
    "1.8.2": (NO_DIRECT, NO_TAR),
    "1.8.3": (NO_DIRECT, None),
    "1.8.4": (None, None),
    "1.8.11": (None, None),
    "Unknown": (UNKNOWN, UNKNOWN_TAR),
}


def of_the_server(lines):
    return [line for line in lines if "direct archive" in line or "cannot read tar" in line]


def assert_said_once(done, version, mode):
    """What is done instead, once on the screen and once in the report."""
    direct, tar = INSTEAD[version]
    expected = [text.format(version) for text in (direct, tar if mode == "tar" else None) if text]
    assert of_the_server(done.document["warnings"]) == expected
    assert of_the_server(done.err.splitlines()) == [f"Warning: {text}" for text in expected]


@pytest.fixture
def of_version(sandbox, monkeypatch):
    """Make the sandbox one of this version; that of an unknown version is an old one."""

    def become(version):
        sandbox.state.version = version
        if version == "Unknown":
            monkeypatch.setattr(type(sandbox.state), "version_tuple", (1, 7, 7))

    return become


@ONCE
@pytest.mark.parametrize("version", INSTEAD)
@pytest.mark.parametrize("mode", MODES)
def test_every_server_version_ends_the_same(xnatctl, sandbox, alice, exam, assert_exactly, mode, version, of_version):
    of_version(version)
    done = xnatctl("session", "upload", exam.directory, *names(), "--mode", mode, "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="sess01")
    assert_said_once(done, version, mode)


@pytest.mark.parametrize("version", ["1.8.2", pytest.param("Unknown", marks=ONCE)])
def test_an_exam_on_an_old_server(xnatctl, sandbox, alice, own_exam, assert_exactly, version, of_version):
    of_version(version)
    for path in own_exam.directory.glob("not-utf8*"):
        path.unlink()
    for number in range(30):
        (own_exam.directory / f"log{number}.txt").write_text(f"line {number}")
    upload = ("session", "upload-exam", own_exam.directory, *names(), "--mode", "tar", "-o", "json")
    done = xnatctl(*upload, env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, own_exam.digests, place="archive", label="sess01")
    assert done.document["verification"]["ok"]
    assert_said_once(done, version, "tar")
    again = xnatctl(*upload, env=alice)
    assert (again.code, of_the_server(again.document["warnings"])) == (0, []), "nothing is left to be done instead"


def test_for_a_review_nothing_is_done_instead(xnatctl, sandbox, alice, exam):
    sandbox.state.version = "1.8.2"
    done = xnatctl("session", "upload", exam.directory, *names(), "--prearchive", "-o", "json", env=alice)
    assert (done.code, of_the_server(done.document["warnings"])) == (0, [NO_TAR])


def test_a_manual_project_archives_too(xnatctl, sandbox, alice, exam, assert_exactly):
    done = xnatctl(
        "session", "upload", exam.directory, "-P", "MANUAL", "-S", "s", "-E", "e", env=alice,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e", project="MANUAL")


@pytest.fixture
def halves(exam, tmp_path):
    """Two of three series, and the third alone."""
    first, second = tmp_path / "first", tmp_path / "second"
    series = sorted({record.series_instance_uid for record in exam.instances.values()})
    for record in exam.instances.values():
        target = second if record.series_instance_uid == series[-1] else first
        target.mkdir(exist_ok=True)
        shutil.copyfile(record.path, target / record.sop_instance_uid)
    return first, second


@ONCE
@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("policy", ["delete", "append"])
@pytest.mark.parametrize("mode", MODES)
def test_a_second_upload_adds_to_the_session(
    xnatctl, sandbox, alice, exam, halves, assert_exactly, mode, policy, workers
):
    first, second = halves
    assert xnatctl("session", "upload", first, *names(), "--mode", mode, env=alice).code == 0
    done = xnatctl(
        "session", "upload", second, *names(), "--mode", mode, "--overwrite", policy, "--workers", str(workers),
        "-o", "json", env=alice,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.document["counts"]["verified"] == 20
    assert_exactly(sandbox, exam.digests, place="archive", label="sess01")


@ONCE
@pytest.mark.parametrize("mode", MODES)
def test_delete_replaces_what_matches(xnatctl, sandbox, alice, elsewhere, exam, assert_exactly, mode):
    assert xnatctl("session", "upload", exam.directory, *names(), env=elsewhere).code == 0
    done = xnatctl("session", "upload", exam.directory, *names(), "--mode", mode, "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="sess01")


@ONCE
@pytest.mark.parametrize("mode", MODES)
def test_append_sends_nothing_where_everything_is_there(xnatctl, sandbox, alice, elsewhere, exam, assert_exactly, mode):
    assert xnatctl("session", "upload", exam.directory, *names(), env=elsewhere).code == 0
    before = [r for r in sandbox.requests if "services/import" in r["path"]]
    done = xnatctl(
        "session", "upload", exam.directory, *names(), "--mode", mode, "--overwrite", "append", "-o", "json", env=alice
    )
    assert done.code == 0, done.err
    assert done.document["counts"]["sent"] == 0
    assert [r for r in sandbox.requests if "services/import" in r["path"]] == before
    assert_exactly(sandbox, exam.digests, place="archive", label="sess01")


@ONCE
@pytest.mark.parametrize("mode", MODES)
def test_none_refuses_an_existing_session_before_the_first_byte(xnatctl, sandbox, alice, exam, mode):
    assert xnatctl("session", "upload", exam.directory, *names(), env=alice).code == 0
    before = [r for r in sandbox.requests if "services/import" in r["path"]]
    done = xnatctl(
        "session", "upload", exam.directory, *names(), "--mode", mode, "--overwrite", "none", "-o", "json", env=alice
    )
    assert done.code == 7
    assert done.document["status"] == "refused"
    assert [r for r in sandbox.requests if "services/import" in r["path"]] == before


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("mode", ["tar", *(pytest.param(mode, marks=ONCE) for mode in ("zip", "gradual"))])
def test_a_ready_made_archive_is_repacked(xnatctl, sandbox, alice, large_exam, tmp_path, assert_exactly, mode, kind):
    import tarfile
    import zipfile

    # Upper case suffix: what it is, is decided by content.
    packed = tmp_path / f"exam.{kind.upper()}"
    if kind == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
            for path in sorted(large_exam.directory.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    out.write(path, os.fsencode(path.relative_to(large_exam.directory)).decode("utf-8", "replace"))
    else:
        with tarfile.open(packed, "w:gz" if kind == "tar.gz" else "w") as out:
            out.add(large_exam.directory, "exam")
    done = xnatctl("session", "upload", packed, *names(), "--mode", mode, "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert done.document["counts"]["found"] == 300
    assert_exactly(sandbox, large_exam.digests, place="archive", label="sess01")


def test_one_server_session_per_run_closed_at_the_end(xnatctl, sandbox, alice, exam):
    assert xnatctl("session", "upload", exam.directory, *names(), "--workers", "8", env=alice).code == 0
    logins = [r for r in sandbox.requests if r["path"] == "/data/JSESSION"]
    assert [r["method"] for r in logins] == ["POST", "DELETE"]


def test_nothing_is_left_behind_on_the_client(xnatctl, sandbox, alice, exam, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = xnatctl("session", "upload", exam.directory, *names(), env={**alice, "TMPDIR": str(scratch)})
    assert done.code == 0
    assert list(scratch.iterdir()) == []


def test_dry_run_asks_the_server_nothing(xnatctl, sandbox, alice, exam):
    done = xnatctl("session", "upload", exam.directory, *names(), "--dry-run", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert sandbox.requests == []
    plan = done.document
    assert plan["schema"] == "xnatctl.plan/1"
    assert sum(len(stage["items"]) for stage in plan["stages"]) == 60
    assert {entry["reason"] for entry in plan["excluded"]} >= {"empty file", "not DICOM"}
