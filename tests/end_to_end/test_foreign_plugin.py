"""A third-party transport uses the same engine; each of ours can be blocked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "xnatctl-series"
OURS = ("archive", "credentials", "cstore", "gradual", "output", "sandbox", "session", "zip")
UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e")


@pytest.fixture
def installed(tmp_path):
    """The example, installed as pip lays it out, in a folder of its own."""
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE / "xnatctl_series", site / "xnatctl_series")
    info = site / "xnatctl_series-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xnatctl-series\nVersion: 1.0.0\n")
    (info / "entry_points.txt").write_text("[xnatctl]\nseries = xnatctl_series.plugin\n")
    return {"PYTHONPATH": str(site)}


def test_it_is_listed_without_being_imported(xnatctl, installed, tmp_path):
    (tmp_path / "site" / "xnatctl_series" / "plugin.py").write_text("raise SystemExit('imported')")
    done = xnatctl("plugins", "list", "-o", "json", env=installed)
    assert done.code == 0
    (row,) = [plugin for plugin in done.document["plugins"] if plugin["name"] == "series"]
    assert (row["status"], row["distribution"], row["version"]) == ("active", "xnatctl-series", "1.0.0")
    assert "imported" not in done.err


def test_its_transport_and_option_show_and_upload(xnatctl, sandbox, alice, exam, installed, assert_exactly):
    assert "--level" in xnatctl("session", "upload", "--help", env=installed).out
    wrong = xnatctl("session", "upload", exam.directory, *UPLOAD, "--mode", "serie", env={**alice, **installed})
    assert wrong.code == 2
    assert "Did you mean series?" in wrong.err
    done = xnatctl(
        "session", "upload", exam.directory, *UPLOAD, "--mode", "series", "--level", "9", "-o", "json",
        env={**alice, **installed},
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.document["transport"] == "series"
    assert done.document["verification"]["level"] in ("uid", "size")
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    imports = [r for r in sandbox.requests if "services/import" in r["path"]]
    assert len(imports) == 3


def test_an_option_of_another_transport_is_refused_not_ignored(xnatctl, alice, exam, installed):
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "--level", "9", env={**alice, **installed})
    assert done.code == 2
    assert "--level does not apply to --mode tar" in done.err


@pytest.mark.parametrize("how", ["variable", "flag", "config"])
def test_it_can_be_blocked(xnatctl, alice, exam, installed, how):
    env, flags = {**alice, **installed}, ()
    if how == "variable":
        env["XNATCTL_BLOCK_PLUGINS"] = "series"
    elif how == "flag":
        flags = ("--block-plugin", "series")
    else:
        assert xnatctl("plugins", "block", "series", env=env).code == 0
    done = xnatctl(*flags, "session", "upload", exam.directory, *UPLOAD, "--mode", "series", env=env)
    assert done.code == 8
    assert "plugin series, which is blocked" in done.err
    if how == "config":
        assert xnatctl("plugins", "unblock", "series", env=env).code == 0
        assert xnatctl("session", "upload", exam.directory, *UPLOAD, "--mode", "series", env=env).code == 0


@pytest.mark.parametrize("name", OURS)
def test_blocking_one_of_ours_leaves_everything_else_working(xnatctl, sandbox, alice, exam, name, assert_exactly):
    mode = "gradual" if name == "zip" else "tar"
    env = {**alice, "XNATCTL_BLOCK_PLUGINS": name}
    login = ()
    if name == "credentials":
        login = ("--username", "alice", "--password", "alice")
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "--mode", mode, *login, env=env)
    if name in ("output", "session"):
        # Without a formatter the report could not be printed, and without its plugin there is no such command.
        assert done.code == 8
        assert f"plugin {name}" in done.err
        assert not sandbox.instances()
    else:
        assert done.code == 0, done.err
        assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert xnatctl("--version", env=env).code == 0
    assert xnatctl("--help", env=env).code == 0
    listed = xnatctl("session", "list", "-P", "DEMO", *login, env=env)
    assert listed.code == {"archive": 8, "output": 8}.get(name, 0), listed.err


DROP = """
import pathlib, shutil
from xnatctl.api import *

@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="drop", summary="into a folder", target="dist_drop_drop:Drop", settle="none",
                          options=(Option(name="into", help="The folder.", required=True),))]

class Drop:
    def __init__(self, context):
        self.context = context
    def describe(self):
        return {"into": self.context.options["into"]}
    def send(self, batch, emit):
        for item in batch.items:
            with self.context.open_item(item) as reader:
                pathlib.Path(self.context.options["into"], item.name).write_bytes(reader.read())
            yield ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED)
    def close(self):
        pass
"""


def test_a_transport_that_hands_over_needs_no_server_and_says_no_more_than_it_knows(
    xnatctl, install, exam, tmp_path, digest
):
    env = install("drop", DROP)
    folder = tmp_path / "inbox"
    folder.mkdir()
    missing = xnatctl("session", "upload", exam.directory, "--mode", "drop", env=env)
    assert missing.code == 2
    assert "--into" in missing.err
    done = xnatctl("session", "upload", exam.directory, "--mode", "drop", "--into", folder, "-o", "json", env=env)
    assert done.code == 0, done.err
    report = done.document
    assert report["destination"]["state"] == "receiver"
    assert report["verification"]["level"] == "none"
    assert (report["counts"]["sent"], report["counts"]["verified"]) == (len(exam.instances), 0)
    assert {digest(path) for path in folder.iterdir()} == set(exam.digests.values())


def test_what_a_transport_prints_never_stands_beside_the_document(xnatctl, install, exam, tmp_path):
    noisy = DROP.replace(
        "        for item in batch.items:\n            with",
        "        print('noise')\n        for item in batch.items:\n            with",
    )
    assert noisy != DROP
    env = install("drop", noisy)
    (tmp_path / "inbox").mkdir()
    done = xnatctl(
        "session", "upload", exam.directory, "--mode", "drop", "--into", tmp_path / "inbox", "-o", "json",
        env=env,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.document["status"] == "complete"
    assert "noise" in done.err


@pytest.mark.parametrize("failure", ["raise RuntimeError('no luck')", "raise SystemExit(3)"])
@pytest.mark.parametrize("dry", [True, False])
def test_a_transport_that_cannot_be_made_is_named(xnatctl, install, exam, tmp_path, failure, dry):
    env = install("drop", DROP.replace("        self.context = context\n", f"        {failure}\n"))
    done = xnatctl(
        "session", "upload", exam.directory, "--mode", "drop", "--into", tmp_path, "-o", "json",
        *(["--dry-run"] if dry else []), env=env,
    )  # fmt: skip
    assert done.code == 8
    for word in ("drop", "dist-drop 1.0", failure.split("(")[0].removeprefix("raise ")):
        assert word in done.document["error"]["message"]


PLANNERS = {
    "leaves": "@hookimpl\ndef xnatctl_plan_upload(request):\n    raise SystemExit(3)\n",
    "garbage": "@hookimpl\ndef xnatctl_plan_upload(request):\n    return 42\n",
    "raises": "@hookimpl\ndef xnatctl_plan_upload(request):\n    raise ValueError('no luck')\n",
}


@pytest.mark.parametrize("kind", PLANNERS)
def test_a_planner_that_fails_stops_the_command_and_is_named(xnatctl, alice, install, exam, kind):
    env = {**alice, **install("planner", DROP + PLANNERS[kind])}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "--dry-run", "-o", "json", env=env)
    assert done.code == 8
    assert "plugin planner, dist-planner 1.0" in done.document["error"]["message"]
    assert "XNATCTL_BLOCK_PLUGINS=planner" in done.document["error"]["hint"]


@pytest.mark.parametrize("failure", ["raise RuntimeError('observer')", "raise SystemExit(3)"])
def test_an_observer_that_fails_is_told_nothing_more(xnatctl, sandbox, alice, install, exam, tmp_path, failure):
    told = tmp_path / "told"
    source = (
        "from xnatctl.api import *\n@hookimpl\ndef xnatctl_on_event(event):\n"
        f"    open({str(told)!r}, 'a').write('x')\n    {failure}\n"
    )
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, env={**alice, **install("observer", source)})
    assert done.code == 0, done.err
    assert told.read_text() == "x"


def test_the_log_holds_the_run_and_no_secret(xnatctl, sandbox, alice, exam, tmp_path):
    import json

    log = tmp_path / "run.jsonl"
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "--log-file", log, "-vv", env=alice)
    assert done.code == 0, done.err
    kinds = {json.loads(line)["event"] for line in log.read_text().splitlines()}
    assert {"run-started", "item-done", "batch-done", "run-done"} <= kinds
