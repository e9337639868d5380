"""`--version`, and with `-v` what a bug report needs, without saying whose machine it is."""

from __future__ import annotations

import getpass
import platform
import sqlite3
from pathlib import Path

import pytest

import xnatctl as package

PLUGIN = """
from xnatctl.api import hookimpl
requires_api = 1
"""
BROKEN = "raise ValueError({text!r})"


def test_the_version_alone(xnatctl, home):
    (home / "config" / "xnatctl").mkdir(parents=True)
    (home / "config" / "xnatctl" / "config.yaml").write_text("{")
    done = xnatctl("--version")
    assert (done.code, done.out, done.err) == (0, f"xnatctl {package.__version__}\n", "")


@pytest.mark.parametrize("words", [("--version", "-v"), ("-v", "--version"), ("--version", "--verbose")])
def test_what_a_bug_report_needs(xnatctl, words):
    done = xnatctl(*words)
    assert done.code == 0
    for text in (package.__version__, platform.python_version(), sqlite3.sqlite_version, "click 8.", "archive, "):
        assert text in done.out


def test_it_is_a_document_with_every_plugin_and_nothing_about_the_user(xnatctl, install, home):
    env = install("good", PLUGIN)
    install("held", PLUGIN)
    install("bad", BROKEN.format(text=f"no such folder: {home / 'data'}"))
    env |= {"XNAT_PASS": "a-secret", "XNAT_USER": "a-user", "XNAT_URL": "https://a-host.example"}
    done = xnatctl("--version", "-v", "-o", "json", "--block-plugin", "held", env=env)
    data = done.document
    plugins = {plugin["name"]: plugin for plugin in data["plugins"]}
    assert (done.code, data["schema"], data["version"]) == (0, "xnatctl.version/1", package.__version__)
    assert [plugins[name]["status"] for name in ("zip", "good", "held", "bad")] == [
        "active", "active", "blocked", "broken",
    ]  # fmt: skip
    assert (plugins["good"]["distribution"], plugins["good"]["version"]) == ("dist-good", "1.0")
    assert f"no such folder: {Path('~/data')}" in plugins["bad"]["reason"]
    assert data["configuration"] == f"{Path('~/config/xnatctl/config.yaml')} (does not exist)"
    assert data["libraries"]["click"]
    assert data["terminal"]["columns"] == 200
    for private in ("a-secret", "a-user", "a-host", str(home), platform.node(), getpass.getuser()):
        assert private not in done.out.replace(data["system"], ""), private


def test_a_broken_configuration_is_part_of_it(xnatctl, home):
    (home / "config" / "xnatctl").mkdir(parents=True)
    (home / "config" / "xnatctl" / "config.yaml").write_text("plugins: 3")
    done = xnatctl("--version", "-v")
    assert done.code == 0
    assert str(Path("~/config/xnatctl/config.yaml")) in done.out
    assert "plugins" in next(line for line in done.out.splitlines() if line.startswith("Configuration"))


@pytest.mark.parametrize("words", [("-v", "doctor"), ("-o", "json", "doctor"), ("-ojson", "doctor")])
def test_other_options_of_the_root_stay_unknown(xnatctl, words):
    done = xnatctl(*words)
    assert done.code == 2
    assert f"There is no option {words[0]}." in done.err
    assert f"xnatctl COMMAND {words[0]}" in done.err
