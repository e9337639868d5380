"""What a shell completes: a real bash with the script that `completion` prints, against the sandbox."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once


@pytest.fixture
def complete(environment, tmp_path):
    """What bash offers for the last word of a line."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "xnatctl"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m xnatctl "$@"\n')
    program.chmod(0o755)

    def offer(line, env=()):
        words = line.split(" ")
        script = (
            'eval "$(xnatctl completion bash)"\n'
            f"COMP_WORDS=({' '.join(shlex.quote(word) for word in words)})\nCOMP_CWORD={len(words) - 1}\n"
            '_xnatctl_completion xnatctl\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        done = subprocess.run(
            ["bash", "-c", script],
            env={**environment, "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", **dict(env)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.split()

    return offer


def test_commands_options_and_what_plugins_provide(complete):
    assert complete("xnatctl sess") == ["session"]
    assert complete("xnatctl session upload-") == ["upload-dicom", "upload-exam"]
    assert complete("xnatctl session upload --mo") == ["--mode"]
    assert complete("xnatctl session upload --mode ") == ["gradual", "tar", "zip"]
    assert complete("xnatctl resource upload --mode ") == ["resource"]
    assert complete("xnatctl session list -o n") == ["ndjson"]
    assert "zip" in complete("xnatctl plugins block ")


def test_profiles(complete, xnatctl):
    for name in ("work", "home"):
        assert xnatctl("config", "set-profile", name, "--url", "http://127.0.0.1:1").code == 0
    assert complete("xnatctl config use ") == ["home", "work"]
    assert complete("xnatctl session list --profile w") == ["work"]


def test_projects_subjects_and_sessions_of_the_server(complete, xnatctl, alice, exam, sandbox):
    done = xnatctl("session", "upload", exam.directory, "-P", "DEMO", "-S", "subj01", "-E", "sess01", env=alice)
    assert done.code == 0, done.err
    assert "DEMO" in complete("xnatctl session list -P ", alice)
    assert complete("xnatctl scan list -P DEMO -E s", alice) == ["sess01"]
    assert complete("xnatctl session upload x -P DEMO -S s", alice) == ["subj01"]
    asked = len(sandbox.requests)
    assert complete("xnatctl scan list -P DEMO -E sess", alice) == ["sess01"]
    assert len(sandbox.requests) == asked, "the list is kept"


def test_the_server_of_the_line_is_asked(complete, alice):
    user = {name: alice[name] for name in ("XNAT_USER", "XNAT_PASS")}
    assert complete("xnatctl session list -P DE", user) == []
    assert complete(f"xnatctl session list --url {alice['XNAT_URL']} --username alice -P DE", user) == ["DEMO"]


def test_a_server_that_does_not_answer_leaves_no_trace(complete):
    unreachable = {"XNAT_URL": "http://127.0.0.1:1", "XNAT_USER": "a", "XNAT_PASS": "b"}
    assert complete("xnatctl session list -P ", unreachable) == []


def test_a_wrong_password_is_tried_once(complete, alice, sandbox):
    """A shell asks at each press of a key, and XNAT locks an account after some tries."""
    wrong = {**alice, "XNAT_PASS": "wrong"}
    assert complete("xnatctl session list -P ", wrong) == []
    asked = len(sandbox.requests)
    assert complete("xnatctl session list -P ", wrong) == []
    assert len(sandbox.requests) == asked


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(xnatctl, shell):
    done = xnatctl("completion", shell)
    assert done.code == 0
    assert "_XNATCTL_COMPLETE" in done.out
