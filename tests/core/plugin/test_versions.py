"""A plugin for another version is told apart without being imported; one of an earlier version goes on working."""

from __future__ import annotations

from pathlib import Path

import pytest

import xnatctl as package
from xnatctl.plugin.compatibility import API_VERSION, OLDEST_API, api_mismatch, version_mismatch

pytestmark = pytest.mark.once
OLD = Path(__file__).parent / "data" / "plugin_of_api_1.py"
HEAD = "from xnatctl.api import *\n"
IMPORTED = "raise SystemExit('imported')\n"
NEWER = str(API_VERSION + 1)


def row_of(xnatctl, name, *flags, env, code=0):
    listed = xnatctl("plugins", "list", *flags, "-o", "json", env=env)
    assert listed.code == code, listed.err
    (row,) = [plugin for plugin in listed.document["plugins"] if plugin["name"] == name]
    return row, listed


@pytest.mark.parametrize(
    ("source", "requires", "reason"),
    [
        (f"requires_api = {NEWER}\n", (), f"it requires version {NEWER} of the plugin API"),
        (f"requires_api: int = {NEWER}  # new\n", (), f"it requires version {NEWER} of the plugin API"),
        ("", ("xnatctl>=99",), f"it requires xnatctl>=99, and this is xnatctl {package.__version__}"),
        ("", ("xnatctl (>=99,<100)",), "it requires xnatctl>=99,<100"),
        ("", ("XNATCTL[dicom]<0.0.1 ; python_version > '3'",), "it requires xnatctl<0.0.1"),
    ],
)
def test_what_does_not_fit_is_incompatible_and_not_imported(xnatctl, install, source, requires, reason):
    env = install("later", source + IMPORTED, requires=requires)
    row, listed = row_of(xnatctl, "later", env=env)
    assert (row["status"], row["provides"]) == ("incompatible", None)
    assert reason in row["reason"]
    row, listed = row_of(xnatctl, "later", "--check", env=env, code=8)
    assert row["status"] == "incompatible"
    (warning,) = [line for line in listed.err.splitlines() if "later" in line]
    assert "Plugin later" in warning
    assert "dist-later 1.0" in warning
    assert "is incompatible and was disabled" in warning
    assert "imported" not in listed.out + listed.err
    used = xnatctl("session", "upload", ".", "-P", "P", "-S", "S", "-E", "E", "--mode", "later", "--dry-run", env=env)
    assert used.code == 8
    assert "The transport later comes from plugin later, which is incompatible: it requires" in used.err
    checked = xnatctl("doctor", "--url", "http://127.0.0.1:9", "-o", "json", env=env)
    assert checked.code == 8
    (line,) = [entry for entry in checked.document["checks"] if entry["check"] == "plugins"]
    assert line["status"] == "failed"
    assert "incompatible: later (dist-later 1.0), it requires" in line["message"]


@pytest.mark.parametrize(
    "requires",
    [
        ("xnatctl",), ("xnatctl>=0.0.1",), ("xnatctl[dicom]>=0.0.1,<99",), ("xnatctl-other>=99",),
        ("xnatctl>=99; extra == 'later'",), ("xnatctl @ file:///somewhere",), ("pydicom>=99",),
        ("xnatctl>=99 ; python_version < '3'",),
    ],
)  # fmt: skip
def test_what_fits_is_used(requires):
    assert version_mismatch(requires) is None


def test_a_version_that_cannot_be_read_is_a_reason():
    assert version_mismatch(("xnatctl>=one",)) == "its requirement xnatctl>=one is not valid"
    assert api_mismatch("1") == "requires_api must be a number, not str"
    assert api_mismatch(None) is None
    for version in range(OLDEST_API, API_VERSION + 1):
        assert api_mismatch(version) is None
    assert api_mismatch(OLDEST_API - 1) is not None


def test_a_version_that_only_python_can_compute_is_read_after_the_import(xnatctl, install):
    env = install("later", f"requires_api = {API_VERSION} + 1\ndef xnatctl_transprts():\n    pass\n")
    assert row_of(xnatctl, "later", env=env)[0]["status"] == "active"
    assert row_of(xnatctl, "later", "--check", env=env, code=8)[0]["status"] == "incompatible"


def test_fields_of_a_later_version_are_ignored_with_a_warning(xnatctl, install):
    source = (
        "from xnatctl.api import Option, TransportSpec, hookimpl\n@hookimpl\ndef xnatctl_transports():\n"
        "    option = Option(name='how', help='How.', colour='red')\n"
        "    return [TransportSpec(name='later', summary='', target='json:dumps', options=(option,), shape=1, size=2)]\n"
    )
    env = install("later", source)
    row, listed = row_of(xnatctl, "later", "--check", env=env)
    assert (row["status"], row["provides"]) == ("active", ["transport later"])
    for field in ("TransportSpec.shape", "TransportSpec.size", "Option.colour"):
        assert f"Plugin later (dist-later 1.0) sets {field}, which this version of xnatctl does not know" in listed.err


def test_a_plugin_of_the_first_version_still_works(xnatctl, install):
    env = {**install("old", OLD.read_text()), "OLD_FOLDER": "/somewhere"}
    row, _ = row_of(xnatctl, "old", "--check", env=env)
    assert row["status"] == "active", row["reason"]
    assert len(row["provides"]) == 6
    assert xnatctl("old", "hello", env=env).out == "hello from the old plugin\n"
    checked = xnatctl("doctor", "--url", "http://127.0.0.1:9", "-o", "json", env=env)
    assert "the old check is content" in checked.out
    assert "old active" in xnatctl("plugins", "list", "-o", "old", env=env).out
    helped = xnatctl("session", "upload", "--help", env=env).out
    assert all(flag in helped for flag in ("--old-folder", "--old-level", "--old-form", "--no-old-quick"))


@pytest.mark.parametrize(
    ("source", "requires", "target"),
    [
        ("", ("xnatctl>=0.0.1; os_name ~= 'posix'",), None),
        ("", ("xnatctl>=0.0.1; no_such_name == 'x'",), None),
        (f"requires_api = {'9' * 5000}\n", (), None),
        ("", (), "json./"),
        ("", (), "json..x"),
    ],
    ids=["marker", "name in a marker", "number", "target", "empty part"],
)
def test_metadata_that_nobody_can_read_locks_nobody_out(xnatctl, install, tmp_path, source, requires, target):
    env = install("odd", source + HEAD, requires=requires)
    if target is not None:
        (entry_points,) = (tmp_path / "site").glob("*/entry_points.txt")
        entry_points.write_text(f"[xnatctl]\nodd = {target}\n")
    for command in (("list",), ("show", "odd"), ("block", "odd"), ("list", "--check")):
        done = xnatctl("plugins", *command, env=env)
        assert done.code == 0, done.err
        assert "odd" in done.out
