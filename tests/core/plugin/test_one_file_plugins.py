"""`XNATCTL_PLUGIN_DIR`: each Python file of a folder is a plugin, like one that is installed."""

from __future__ import annotations

import pytest

PACS = """
from xnatctl.api import CommandSpec, TransportSpec, hookimpl

@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="pacs", summary="the PACS", target="pacs:Pacs")]

@hookimpl
def xnatctl_commands():
    return [CommandSpec(path="pacs list", summary="List.", target=f"{__name__}:listing")]

class Pacs:
    def __init__(self, context):
        pass

import click
listing = click.Command("list", callback=lambda: click.echo("the list"))
"""


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "plugins"
    where.mkdir()
    return where


@pytest.fixture
def env(folder):
    return {"XNATCTL_PLUGIN_DIR": str(folder)}


def row_of(xnatctl, name, *flags, env, code=0):
    listed = xnatctl("plugins", "list", *flags, "-o", "json", env=env)
    assert listed.code == code, listed.err
    (row,) = [plugin for plugin in listed.document["plugins"] if (plugin["distribution"], plugin["name"]) == name]
    return row


def test_a_file_is_a_plugin(xnatctl, folder, env):
    (folder / "pacs.py").write_text(PACS)
    (folder / "_helper.py").write_text("raise SystemExit")
    (folder / "notes.txt").write_text("no plugin")
    row = row_of(xnatctl, ("file", "pacs"), env=env)
    assert (row["status"], row["provides"]) == ("active", None)
    row = row_of(xnatctl, ("file", "pacs"), "--check", env=env)
    assert (row["status"], row["provides"]) == ("active", ["transport pacs", "command pacs list"])
    assert xnatctl("pacs", "list", env=env).out == "the list\n"


def test_it_is_a_third_party_plugin(xnatctl, folder, env):
    (folder / "pacs.py").write_text(PACS)
    for flags, more in ((("--no-external-plugins",), {}), ((), {"XNATCTL_BLOCK_PLUGINS": "file:pacs"})):
        listed = xnatctl(*flags, "plugins", "list", "-o", "json", env={**env, **more}).document
        assert [row["status"] for row in listed["plugins"] if row["name"] == "pacs"] == ["blocked"]


@pytest.mark.parametrize(
    ("name", "source", "status", "reason"),
    [
        ("json.py", "", "clash", "another module is named json"),
        ("sys.py", "", "clash", "another module is named sys (part of Python)"),
        ("click.py", "", "clash", "another module is named click"),
        ("two-words.py", "", "broken", "two-words.py is not the name of a Python module"),
        ("later.py", "requires_api = 99\nraise SystemExit", "incompatible", "requires version 99 of the plugin API"),
        ("wrong.py", "def :", "broken", "SyntaxError"),
    ],
)
def test_what_cannot_be_used_says_why(xnatctl, folder, env, name, source, status, reason):
    (folder / name).write_text(source)
    row = row_of(xnatctl, ("file", name.removesuffix(".py")), "--check", env=env, code=8)
    assert row["status"] == status
    assert reason in row["reason"]


def test_messages_name_the_file(xnatctl, folder, env):
    (folder / "wrong.py").write_text("raise RuntimeError('no luck')")
    said = xnatctl("session", "--help", env=env).err
    assert f"Plugin wrong (wrong, from {folder / 'wrong.py'}) is broken and was disabled: RuntimeError: no luck" in said


def test_a_folder_that_does_not_exist_is_named(xnatctl, tmp_path):
    done = xnatctl("plugins", "list", env={"XNATCTL_PLUGIN_DIR": str(tmp_path / "none")})
    assert done.code == 0
    assert f"XNATCTL_PLUGIN_DIR names {tmp_path / 'none'}, which is not a folder" in done.err
