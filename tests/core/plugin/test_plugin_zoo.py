"""Nine kinds of broken plugin harm nobody: everything of ours works, one warning names the culprit."""

from __future__ import annotations

import pytest

HEAD = "from xnatctl.api import hookimpl, TransportSpec, FormatterSpec, CommandSpec\n"
ZOO = {
    "import-error": "import no_such_module_anywhere\n",
    "syntax-error": "def broken(:\n",
    "system-exit": "raise SystemExit(3)\n",
    "slow": "import time\ntime.sleep(0.5)\nraise RuntimeError('slow and broken')\n",
    "bad-signature": HEAD + "@hookimpl\ndef xnatctl_transports(nonsense):\n    return []\n",
    "misspelt-hook": HEAD + "@hookimpl\ndef xnatctl_transport():\n    return []\n",
    "hook-raises": HEAD + "@hookimpl\ndef xnatctl_transports():\n    raise ValueError('no luck')\n",
    "garbage": HEAD + "@hookimpl\ndef xnatctl_transports():\n    return [42]\n",
    "twice": HEAD
    + "@hookimpl\ndef xnatctl_formatters():\n    return 2 * [FormatterSpec(name='x', summary='', target='a:b')]\n",
}
NAME = "stranger"


@pytest.mark.parametrize("kind", ZOO)
def test_a_broken_plugin_harms_nobody(xnatctl, install, kind):
    env = install(NAME, ZOO[kind], distribution="strange-dist", version="7.7")
    for arguments in (["--version"], ["--help"], ["plugins", "list"], ["config", "path"]):
        done = xnatctl(*arguments, env=env)
        assert done.code == 0, done.err
        assert "stranger" not in done.err, "nothing of a stranger is loaded for this"
    done = xnatctl("session", "upload", "--help", env=env)
    assert done.code == 0
    assert "--compress" in done.out
    listed = xnatctl("plugins", "list", "--check", "-o", "json", env=env)
    assert listed.code == 8
    (row,) = [plugin for plugin in listed.document["plugins"] if plugin["name"] == NAME]
    assert row["status"] == "broken"
    assert row["reason"]
    ours = [plugin for plugin in listed.document["plugins"] if plugin["distribution"] == "xnatctl"]
    assert {plugin["status"] for plugin in ours} <= {"active", "unmet"}


@pytest.mark.parametrize("kind", ZOO)
def test_one_warning_says_which_and_how_to_silence_it(xnatctl, install, kind):
    env = install(NAME, ZOO[kind], distribution="strange-dist", version="7.7")
    done = xnatctl("session", "--help", env=env)
    assert done.code == 0
    if kind in ("hook-raises", "garbage", "twice"):
        done = xnatctl("doctor", "--url", "http://127.0.0.1:9", env=env)  # asks for every kind of spec
    lines = [line for line in done.err.splitlines() if "stranger" in line]
    assert len([line for line in lines if line.startswith("Warning:")]) == 1, done.err
    for word in ("stranger", "strange-dist", "7.7", "XNATCTL_BLOCK_PLUGINS=stranger"):
        assert word in lines[0]
    silenced = xnatctl("session", "--help", env={**env, "XNATCTL_BLOCK_PLUGINS": NAME})
    assert "stranger" not in silenced.err


def test_what_a_plugin_prints_never_reaches_stdout(xnatctl, install):
    source = (
        "print('noise')\n" + HEAD + ("@hookimpl\ndef xnatctl_transports():\n    print('more noise')\n    return []\n")
    )
    env = install("loud", source)
    done = xnatctl("plugins", "list", "--check", "-o", "json", env=env)
    assert done.document["schema"] == "xnatctl.plugins/1"


def test_a_misspelt_hook_gets_a_suggestion(xnatctl, install):
    env = install(NAME, ZOO["misspelt-hook"])
    listed = xnatctl("plugins", "list", "--check", "-o", "json", env=env)
    (row,) = [plugin for plugin in listed.document["plugins"] if plugin["name"] == NAME]
    assert "did you mean xnatctl_transports" in row["reason"]


TWIN = HEAD + (
    "@hookimpl\ndef xnatctl_transports():\n"
    "    return [TransportSpec(name='tar', summary='mine', target='nowhere:nothing')]\n"
)


def test_replacing_is_blocking_ours(xnatctl, install):
    env = {**install("mytar", TWIN), "XNATCTL_BLOCK_PLUGINS": "zip"}
    shown = xnatctl("plugins", "show", "mytar", "-o", "json", env=env)
    assert shown.document["provides"] == ["transport tar"]


def test_safe_mode_and_allow_list(xnatctl, install, home):
    env = install("extra", HEAD)
    for flags, more in ((("--no-external-plugins",), {}), ((), {"XNATCTL_NO_EXTERNAL_PLUGINS": "1"})):
        done = xnatctl(*flags, "plugins", "list", "-o", "json", env={**env, **more})
        (row,) = [plugin for plugin in done.document["plugins"] if plugin["name"] == "extra"]
        assert row["status"] == "blocked"
    config = home / "config" / "xnatctl" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("plugins:\n  allow: [other]\n")
    done = xnatctl("plugins", "list", "-o", "json", env=env)
    states = {plugin["name"]: plugin["status"] for plugin in done.document["plugins"]}
    assert states["extra"] == "blocked"
    assert states["zip"] == "active", "ours are always allowed"


def test_a_plugins_own_command_and_group(xnatctl, install):
    source = HEAD + (
        "@hookimpl\ndef xnatctl_commands():\n"
        "    return [CommandSpec(path='site hello', summary='Say hello.', target='dist_site_site:hello')]\n"
        "import click\n"
        "@click.command()\ndef hello():\n    click.echo('hello from the site')\n"
    )
    env = install("site", source)
    assert xnatctl("site", "hello", env=env).out == "hello from the site\n"
    assert "Say hello." in xnatctl("site", "--help", env=env).out


def test_an_observer_that_raises_does_not_stop_anything(xnatctl, install):
    source = HEAD + "@hookimpl\ndef xnatctl_on_event(event):\n    raise RuntimeError('observer')\n"
    env = install("observer", source)
    done = xnatctl("plugins", "list", "--check", "-o", "json", env=env)
    (row,) = [plugin for plugin in done.document["plugins"] if plugin["name"] == "observer"]
    assert row["status"] == "active"


def test_fifty_plugins_are_not_imported_to_print_help(xnatctl, install):
    for number in range(50):
        env = install(f"many{number}", "raise SystemExit('imported')\n")
    for arguments in (["--help"], ["--version"], ["plugins", "list"]):
        assert "imported" not in xnatctl(*arguments, env=env).err
