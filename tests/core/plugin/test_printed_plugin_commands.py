"""The commands that messages about plugins print can be run as they are printed, and they help."""

from __future__ import annotations

import re
import shlex

import pytest

from xnatctl.testing import write_exam

BROKEN = """
from xnatctl.api import TransportSpec, hookimpl


@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="{name}", summary="broken", target="nowhere:nothing")]
"""


@pytest.fixture
def upload(xnatctl, tmp_path):
    """A dry run with a transport."""
    write_exam(tmp_path / "exam", series=1, instances=1, clutter=False)

    def run(mode, env):
        where = ("-P", "DEMO", "-S", "s", "-E", "e")
        return xnatctl("session", "upload", tmp_path / "exam", *where, "--mode", mode, "--dry-run", env=env)

    return run


def commands(text):
    return [shlex.split(line)[1:] for line in re.findall(r"xnatctl plugins [a-z]+ [^\s;]+?(?=[.;]?(?:\s|$))", text)]


def test_a_transport_that_cannot_be_loaded_is_blocked_and_unblocked(xnatctl, upload, install):
    env = install("bad", BROKEN.format(name="bad"))
    failed = upload("bad", env)
    assert failed.code == 8, failed.err
    (block,) = commands(failed.err)
    assert xnatctl(*block, env=env).code == 0
    blocked = upload("bad", env)
    assert blocked.code == 8
    (unblock,) = commands(blocked.err)
    assert xnatctl(*unblock, env=env).code == 0
    assert upload("bad", env).err == failed.err


def test_of_two_plugins_of_one_name_each_is_named_by_its_distribution(xnatctl, upload, install):
    for distribution in ("site-one", "site-two"):
        env = install("bad", BROKEN.format(name="bad"), distribution=distribution)
    failed = upload("bad", env)
    assert failed.code == 8, failed.err
    (show,) = commands(failed.err)
    shown = xnatctl(*show, "-o", "json", env=env)
    assert (shown.code, shown.document["status"]) == (0, "clash"), shown.err
    assert xnatctl("plugins", "block", show[-1], env=env).code == 0
    (block,) = commands(upload("bad", env).err)
    assert {show[-1], block[-1]} == {"site-one:bad", "site-two:bad"}
    assert xnatctl(*block, env=env).code == 0
    assert "cannot be loaded" not in upload("bad", env).err


def test_doctor_names_the_plugin_to_block(xnatctl, install):
    env = install("bad", "raise ValueError('bad')\n")
    failed = xnatctl("doctor", env=env)
    (block,) = commands(failed.out)
    assert xnatctl(*block, env=env).code == 0
    assert commands(xnatctl("doctor", env=env).out) == []
