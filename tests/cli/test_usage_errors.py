"""What is wrong with a command line, everything that is missing at once, and what was meant."""

from __future__ import annotations

import pytest

from xnatctl.cli.builtin import BUILTIN
from xnatctl.cli.suggest import commands_like

KNOWN = {
    *(spec.path for spec in BUILTIN),
    "session list", "session upload", "session upload-exam", "session upload-dicom", "session verify",
    "prearchive delete", "resource upload", "scan list",
}  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sesion upload x", "session upload"),
        ("sesion uplod x", "session upload"),
        ("session uplod x", "session upload"),
        ("session-upload x", "session upload"),
        ("upload-exam x", "session upload-exam"),
        ("uplaod-exam x", "session upload-exam"),
        ("plugin list", "plugins list"),
        ("login", "auth login"),
        ("auth lgin", "auth login"),
        ("verify x", "session verify"),
        ("resume x", "upload resume"),
        ("status", "auth status"),
        ("status", "upload status"),
        ("profile", "config set-profile"),
        ("docter", "doctor"),
        ("session delete", "prearchive delete"),
        ("upload resum x", "upload resume"),
        ("upload ./exam", "session upload"),
        ("upload -P", "session upload"),
        ("upload forest", "upload forget"),
    ],
)
def test_the_command_that_was_meant(typed, meant):
    group, *words = ["", *typed.split()]
    if words[0] in {path.split()[0] for path in KNOWN} and words[0] != "doctor":
        group, *words = words
    assert meant in commands_like(group, words, KNOWN)


def test_a_directory_is_no_misspelt_command(tmp_path, monkeypatch):
    (tmp_path / "forest").mkdir()
    monkeypatch.chdir(tmp_path)
    assert commands_like("upload", ["forest"], KNOWN)[0] == "session upload"


@pytest.mark.parametrize("words", [("zebra",), ("help",)])
def test_nothing_is_suggested_that_nobody_meant(words):
    assert commands_like("", words, KNOWN) == []


NAMES = ("-P", "p", "-S", "s", "-E", "e")


@pytest.mark.parametrize(
    ("typed", "message", "hint"),
    [
        (["upload", "dir", *NAMES], "There is no command 'upload dir'.", "xnatctl session upload or xnatctl resource upload"),
        (["upload", *NAMES, "dir"], "There is no option -P.", "Did you mean xnatctl session upload"),
        (["sesion", "uplod", "dir"], "There is no command 'sesion'.", "Did you mean xnatctl session upload?"),
        (["help"], "There is no command 'help'.", "There are: auth, campaign, completion, config, doctor, "),
        (["session", "zebra"], "There is no command 'session zebra'.", "There are: list, show, upload, "),
        (["--verion"], "There is no option --verion.", "Did you mean --version?"),
        (["-q", "session", "list"], "There is no option -q.", "xnatctl COMMAND -q"),
        (["session", "upload", "d", "--proyect", "p"], "There is no option --proyect.", "Did you mean --project?"),
        (["session", "list", "--block-plugin", "zip"], "There is no option --block-plugin.", "before the command"),
        (["session", "upload"], "Missing: PATH, -P PROJECT, -S SUBJECT, -E SESSION.", "Example: xnatctl session upload exam -P DEMO -S s01 -E s01_mr (all options: -h)"),
        (["session", "upload", "d", "-S", "s"], "Missing: -P PROJECT, -E SESSION.", "Example: xnatctl session upload exam -P DEMO -S s01 -E s01_mr (all options: -h)"),
        (["session", "upload-exam"], "Missing: EXAM_ROOT, -P PROJECT, -S SUBJECT, -E SESSION.", "Example: xnatctl session upload-exam exam -P DEMO -S s01 -E s01_mr (all options: -h)"),
        (["session", "upload-exam", "d", "--attach-only"], "Missing: -P PROJECT, -E SESSION.", "Example: xnatctl session upload-exam exam -P DEMO -S s01 -E s01_mr (all options: -h)"),
        (["session", "verify", "d"], "Missing: -P PROJECT, -S SUBJECT, -E SESSION.", "Example: xnatctl session verify exam "),
        (["session", "upload-dicom", "--verify"], "Missing: PATH, -P PROJECT, --host (or XNAT_DICOM_HOST), --called-aet", "AE title"),
        (["session", "list"], "Missing: -P PROJECT.", "Example: xnatctl session list -P DEMO (all options: -h)"),
        (["campaign", "watch", "i"], "Missing: --quiet SECONDS, --rules FILE.", "xnatctl campaign watch /data/inbox --quiet 300 "),
        (["prearchive", "archive", "DEMO"], "Missing: TIMESTAMP, SESSION.", "prearchive archive DEMO 20260131_143000123 s01_mr ("),
        (["prearchive", "show", "DEMO", "dot_mr"], "Missing: TIMESTAMP, which", "xnatctl prearchive list -P DEMO"),
        (["prearchive", "show", "DEMO", "20260131_143000123"], "Missing: SESSION.", "Example: xnatctl prearchive show DEMO "),
        (["resource", "list"], "Name one of SESSION, --project-level", "Example: xnatctl resource list s01_mr -P DEMO, or"),
        (["resource", "upload"], "Missing: SESSION, LABEL, PATH.", "Example: xnatctl resource upload XNAT_E00001 BIDS ./bids"),
        (["resource", "upload", "--project-level"], "Missing: LABEL, PATH, -P PROJECT.", "upload DOCUMENTS ./documents -P DEMO"),
        (["resource", "upload", "d", "--subject", "s"], "Missing: -P PROJECT. Name LABEL and PATH; 1 given.", "upload DOCUMENTS"),
        (["resource", "upload", "d"], "Name SESSION, LABEL and PATH; 1 given.", "Example: xnatctl resource upload XNAT_E00001"),
        (["session", "upload", "d", *NAMES, "--mode"], "'--mode' requires an argument.", "Usage: xnatctl session upload"),
        (["auth", "login", "e"], "Got unexpected extra argument (e).", "Usage: xnatctl auth login [OPTIONS] (all options: -h)"),
        (["session", "upload", "d", *NAMES, "--verify", "md5"], "--verify takes one of size, checksum, not 'md5'.", "MD5"),
        (["session", "upload", "--verify", "md5", "d", *NAMES], "takes one of size, checksum, not 'md5'.", "MD5"),
        (["session", "verify", "d", *NAMES, "--verify=md5"], "takes one of size, checksum, not 'md5'.", "MD5"),
        (["session", "upload", "d", *NAMES, "--workers", "two"], "'two' is not a whole number.", "PATH... (all options: -h)"),
    ],
)  # fmt: skip
def test_a_usage_error_is_one_message_and_the_way_on(xnatctl, typed, message, hint):
    if "upload-dicom" in typed:
        pytest.importorskip("pynetdicom", reason="the dicom extra is not installed")
    done = xnatctl(*typed)
    assert (done.code, done.out) == (2, "")
    said, way = done.err.splitlines()
    assert said.startswith("Error: ")
    assert message in said
    assert way.startswith("Hint: ")
    assert hint in way


@pytest.mark.parametrize("words", [[], ["session"], ["session", "upload"], ["prearchive", "delete"], ["doctor"]])
def test_help_has_a_short_name_everywhere(xnatctl, words):
    short, long = xnatctl(*words, "-h"), xnatctl(*words, "--help")
    assert (short.code, short.out) == (0, long.out)
    assert short.out.startswith("Usage: xnatctl")
