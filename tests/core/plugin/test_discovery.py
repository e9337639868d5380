"""What is known of plugins without importing them, and the switches that block and unblock them."""

from __future__ import annotations

import pytest

from xnatctl.plugin.source import declared_commands, locate, required_api
from xnatctl.testing.exam import write_exam

COMMANDS = """
from xnatctl.api import CommandSpec, hookimpl
import xnatctl.api

@hookimpl
def xnatctl_commands():
    return [
        CommandSpec(path="pacs list", summary="List what the PACS has.", target="a:b"),
        xnatctl.api.CommandSpec(target="a:b", path="hello", summary="Say hello."),
    ]
"""
#: Loading it is seen on stderr.
LOUD = "import sys\nprint('imported', file=sys.stderr)\n"


def test_new_nouns_show_in_the_root_help_without_an_import(xnatctl, install):
    env = install("site", LOUD + COMMANDS)
    done = xnatctl("--help", env=env)
    assert done.code == 0
    assert "imported" not in done.err
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.out.splitlines() if len(line.split()) > 1}
    assert lines["pacs"] == "Commands of pacs."
    assert lines["hello"] == "Say hello."
    assert "List what the PACS has." in xnatctl("pacs", "--help", env=env).out
    blocked = xnatctl("--help", env={**env, "XNATCTL_BLOCK_PLUGINS": "site"})
    assert "pacs" not in blocked.out


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plugins", "list"], ["plugins", "block", "own"]])
def test_these_import_no_third_party_page(xnatctl, install, arguments):
    env = install("own", LOUD + COMMANDS)
    done = xnatctl(*arguments, env=env)
    assert done.code == 0, done.err
    assert "imported" not in done.err
    if "block" in arguments:
        done = xnatctl("plugins", "unblock", "own", env=env)
        assert "imported" not in done.err


def test_the_source_is_found_without_importing_packages(tmp_path, monkeypatch):
    package = tmp_path / "loud_package"
    (package / "inner").mkdir(parents=True)
    for folder in (package, package / "inner"):
        (folder / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "inner" / "page.py").write_text("requires_api = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert locate("loud_package.inner.page") == package / "inner" / "page.py"
    assert locate("loud_package.inner") == package / "inner" / "__init__.py"
    assert locate("loud_package") == package / "__init__.py"
    assert locate("loud_package.none") is None
    assert locate("no_such_package_anywhere.page") is None


def test_a_page_says_what_it_needs_in_one_line():
    assert required_api('"""Page."""\n\nrequires_api = 3\n') == 3
    assert required_api("requires_api: Final[int] = 12  # the next one\n") == 12
    assert required_api("    requires_api = 3\n") is None
    assert required_api("requires_api = 1 + 2\n") is None
    assert declared_commands(COMMANDS) == {"pacs list": "List what the PACS has.", "hello": "Say hello."}
    assert declared_commands("CommandSpec(path=computed())") == {}
    assert declared_commands("CommandSpec(") == {}


def test_a_distribution_with_unreadable_metadata_locks_nobody_out(xnatctl, install, tmp_path):
    env = install("own", "")
    info = tmp_path / "site" / "bad-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_bytes(b"[xnatctl]\nbad = \xff\xfe\n")
    (info / "METADATA").write_bytes(b"Name: bad\nVersion: \xff\n")
    listed = xnatctl("plugins", "list", "-o", "json", env=env)
    assert listed.code == 0, listed.err
    assert {"own", "zip"} <= {row["name"] for row in listed.document["plugins"]}


def test_one_that_is_gone_can_be_unblocked(xnatctl, install, home, tmp_path):
    env = install("own", "")
    assert xnatctl("plugins", "block", "own", env=env).code == 0
    assert xnatctl("plugins", "block", "dist-own:own", env=env).code == 0
    config = home / "config" / "xnatctl" / "config.yaml"
    assert "own" in config.read_text()
    assert xnatctl("plugins", "unblock", "own").code == 0, "it is not installed now"
    assert "own" not in config.read_text()
    gone = xnatctl("plugins", "unblock", "own")
    assert gone.code != 0
    assert "There is no plugin 'own'" in gone.err


def test_unblocking_says_what_still_blocks(xnatctl, install):
    env = install("own", "")
    assert xnatctl("plugins", "block", "own", env=env).code == 0
    narrow = xnatctl("plugins", "unblock", "dist-own:own", env=env)
    assert narrow.code != 0
    assert "xnatctl plugins unblock own" in narrow.err
    done = xnatctl("plugins", "unblock", "own", env={**env, "XNATCTL_BLOCK_PLUGINS": "own"})
    assert done.code == 0
    assert "own is still blocked by XNATCTL_BLOCK_PLUGINS" in done.err


def test_blocking_ours_says_what_is_lost(xnatctl):
    done = xnatctl("plugins", "block", "zip")
    assert done.code == 0
    assert "These are no longer available: transports tar, zip." in done.err
    assert "session upload uses the transport tar by default" in done.err
    upload = xnatctl("session", "upload", ".", "-P", "P", "-S", "S", "-E", "E", "--dry-run")
    assert upload.code == 8
    assert "The transport tar comes from plugin zip, which is blocked by the configuration file" in upload.err
    assert "xnatctl plugins unblock zip" in upload.err
    assert xnatctl("plugins", "unblock", "zip").code == 0


def test_a_target_that_cannot_be_loaded_is_found_by_checking(xnatctl, install):
    env = install(
        "own",
        "from xnatctl.api import TransportSpec, hookimpl\n@hookimpl\ndef xnatctl_transports():\n"
        "    return [TransportSpec(name='own', summary='x', target='no_such_module:X')]\n",
    )
    assert xnatctl("plugins", "list", env=env).code == 0
    listed = xnatctl("plugins", "list", "--check", "-o", "json", env=env)
    assert listed.code == 8
    (row,) = [row for row in listed.document["plugins"] if row["name"] == "own"]
    assert row["status"] == "broken"
    assert "The transport own (plugin own) cannot be loaded: ModuleNotFoundError" in row["reason"]
    assert (
        row["reason"]
        in xnatctl("doctor", "--url", "http://127.0.0.1:9", "-o", "json", env=env).document["checks"][1]["message"]
    )


WITHOUT_EXTRAS = """
import sys
for name in ("pydicom", "pynetdicom", "keyring", "werkzeug", "pytest", "dask", "distributed", "isal", "xxhash"):
    sys.modules[name] = None
from xnatctl.cli.main import main
main()
"""


def test_without_extras_nothing_of_ours_is_broken(xnatctl, tmp_path):
    program = tmp_path / "minimal.py"
    program.write_text(WITHOUT_EXTRAS)
    listed = xnatctl("plugins", "list", "--check", "-o", "json", program=(program,))
    assert {row["name"]: row["reason"] for row in listed.document["plugins"] if row["status"] == "broken"} == {}
    assert listed.code == 0
    states = {row["name"]: row["status"] for row in listed.document["plugins"]}
    assert (states["cstore"], states["sandbox"]) == ("unmet", "unmet")
    checked = xnatctl("doctor", "--url", "http://127.0.0.1:9", "-o", "json", program=(program,))
    assert "unmet: cstore (xnatctl 0." in checked.document["checks"][1]["message"]


@pytest.mark.parametrize(
    ("flags", "env", "allow", "hint"),
    [
        (("--no-external-plugins",), {}, None, "Run the command without --no-external-plugins"),
        ((), {"XNATCTL_NO_EXTERNAL_PLUGINS": "1"}, None, "Run the command without --no-external-plugins"),
        ((), {}, "other", "Add it to plugins.allow in the configuration file"),
        ((), {}, "other-dist:own", "Add it to plugins.allow in the configuration file"),
        ((), {"XNATCTL_BLOCK_PLUGINS": "own"}, None, "Remove own from XNATCTL_BLOCK_PLUGINS"),
        (("--block-plugin", "Dist_Own:own"), {}, None, "Remove Dist_Own:own from --block-plugin"),
        ((), {}, "dist.own:own", ""),
    ],
)
def test_a_blocked_plugin_is_named_with_the_way_to_use_it(xnatctl, install, home, tmp_path, flags, env, allow, hint):
    page = "from xnatctl.api import FormatterSpec, hookimpl\n@hookimpl\ndef xnatctl_formatters():\n"
    page += "    return [FormatterSpec(name='own', summary='x', target='dist_own_own:Form')]\n"
    page += "class Form:\n    def render(self, document, out):\n        out.write('the form\\n')\n"
    if allow is not None:
        config = home / "config" / "xnatctl" / "config.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(f"plugins:\n  allow: ['{allow}']\n")
    done = xnatctl(*flags, "config", "path", "-o", "own", env={**install("own", page), **env})
    if hint:
        assert done.code == 8, done.err
        assert "The output format own comes from plugin own, which is blocked" in done.err
        assert hint in done.err
    else:
        assert done.out == "the form\n"


SITE = """
from xnatctl.api import TransportSpec, hookimpl

@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="site", summary="a site", target=f"{__name__}:Site", settle="none")]

class Site:
    def __init__(self, context):
        pass
    def describe(self):
        return {}
    def send(self, batch, emit):
        raise RuntimeError("hush")
    def close(self):
        pass
"""


def test_calls_are_traced_without_their_arguments(xnatctl, install, tmp_path):
    env = install("own", "from xnatctl.api import hookimpl\n@hookimpl\ndef xnatctl_stages():\n    return []\n")
    done = xnatctl("session", "--help", env={**env, "XNATCTL_TRACE_PLUGINS": "1"})
    traced = [line for line in done.err.splitlines() if line.startswith("Trace: ")]
    assert any(line.startswith("Trace: The page (plugin own, dist-own 1.0): ") for line in traced)
    assert any(line.startswith("Trace: The hook xnatctl_stages (plugin own, dist-own 1.0): ") for line in traced)
    assert all(line.endswith(" ms") for line in traced)
    write_exam(tmp_path / "exam", series=1, instances=1, seed=1, clutter=False)
    site = install("site", SITE)
    done = xnatctl("session", "upload", tmp_path / "exam", "--mode", "site", env={**site, "XNATCTL_TRACE_PLUGINS": "1"})
    assert done.code == 5, done.err
    sent = [line for line in done.err.splitlines() if line.startswith("Trace: The transport site (plugin site,")]
    assert any("RuntimeError after" in line for line in sent), done.err
    assert "hush" not in "".join(sent)
    assert "Trace" not in xnatctl("session", "--help", env={**env, "XNATCTL_TRACE_PLUGINS": "0"}).err
