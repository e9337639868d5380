"""The program uses no name that Windows lacks: start-up, an upload in each mode, and the inventory, with them hidden.

`tests/support/windows/sitecustomize.py` hides them from our code in a process of its own. `tox -e portable` runs most
of the suite in that way.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HIDING = Path(__file__).parents[1] / "support" / "windows"


@pytest.fixture
def without(alice) -> dict[str, str]:
    return {**alice, "PYTHONPATH": os.pathsep.join([str(HIDING), *filter(None, [os.environ.get("PYTHONPATH")])])}


def test_the_names_are_hidden(xnatctl, without):
    """Else the other tests would show nothing."""
    code = "import sys, types; m = types.ModuleType('xnatctl_x'); exec(sys.stdin.read(), m.__dict__)"
    done = xnatctl(
        program=("-c", code),
        env=without,
        stdin="import os, signal, select, socket\n"
        "print([hasattr(os, 'pread'), hasattr(signal, 'SIGHUP'), hasattr(select, 'poll'), hasattr(os, 'read')])\n"
        "print(hasattr(socket.socket, 'sendmsg'), hasattr(socket.socket, 'send'))\n"
        "try:\n    import fcntl\nexcept ImportError:\n    print('no fcntl')\n",
    )
    assert done.out.split("\n")[:3] == ["[False, False, False, True]", "False True", "no fcntl"], done.err


def test_start_up(xnatctl, without):
    assert xnatctl("--version", env=without).code == 0
    assert xnatctl("session", "upload", "--help", env=without).code == 0
    assert "plugins" in xnatctl("doctor", env=without).out.casefold()


@pytest.mark.parametrize("mode", ["tar", "zip", "gradual"])
def test_an_upload(xnatctl, sandbox, without, exam, assert_exactly, mode):
    names = ("-P", "DEMO", "-S", "subj01", "-E", "sess01")
    done = xnatctl("session", "upload", exam.directory, *names, "--mode", mode, "-o", "json", env=without)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="sess01")
