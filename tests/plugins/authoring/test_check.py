"""`plugins check`: the contracts of the kit, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("werkzeug", reason="the testing extra is not installed")

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[3]
FORMATTER = (
    "from xnatctl.api import FormatterSpec, hookimpl\n"
    "@hookimpl\ndef xnatctl_formatters():\n"
    "    return [FormatterSpec(name='plain', summary='plain text', target='dist_mine_mine:Plain')]\n"
    "class Plain:\n    def render(self, document, out):\n        {body}\n"
)


@pytest.mark.lab
def test_the_example_passes_without_being_installed(xnatctl):
    done = xnatctl("plugins", "check", ROOT / "docs" / "examples" / "xnatctl-series", "-o", "json")
    assert done.code == 0, done.out
    assert done.document["passed"] is True
    assert {test["provided"] for test in done.document["tests"]} == {"plugin series", "transport series"}
    assert {test["result"] for test in done.document["tests"]} == {"passed"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os\nos._exit(0)\n", "ends the process at import, with exit code 0"),
        ("import sys\nsys.exit(0)\n", "ends the process at import, with exit code 0"),
        ("print('hello')\n", "standard output at import or at exit: 'hello'"),
        ("import atexit\natexit.register(print, 'bye')\n", "standard output at import or at exit: 'bye'"),
        ("while True:\n    pass\n", "importing it takes longer than 2 s"),
        ("raise RuntimeError('no luck')\n", "no luck"),
    ],
    ids=["os._exit", "sys.exit", "prints", "atexit", "loops", "raises"],
)
def test_a_page_that_cannot_be_imported_is_said(xnatctl, install, source, words):
    env = install("mine", source)
    limit = ("--limit", "2") if "True" in source else ()
    done = xnatctl("plugins", "check", "mine", *limit, "-o", "json", env=env)
    assert done.code == 8
    (row,) = done.document["tests"]
    assert row["result"] == "failed"
    assert words in row["message"]


def test_a_test_that_ends_the_process_is_named(xnatctl, install):
    env = install("mine", FORMATTER.format(body="__import__('os')._exit(0)"))
    done = xnatctl("plugins", "check", "mine", "-o", "json", env=env)
    assert done.code == 8
    assert "it ended the process, with exit code 0" in done.document["tests"][-1]["message"]


def test_what_is_not_there_is_said(xnatctl, tmp_path):
    assert xnatctl("plugins", "check", "nothing").code == 1 + 1
    empty = xnatctl("plugins", "check", tmp_path)
    assert empty.code == 2
    assert "pyproject.toml" in empty.err


@pytest.mark.lab
def test_the_tests_of_the_author_are_run_too(xnatctl, tmp_path):
    assert xnatctl("plugins", "new", "receiver-transport", "mine").code == 0
    folder = tmp_path / "xnatctl-mine"
    source = folder / "xnatctl_mine" / "transport.py"
    source.write_text(source.read_text().replace("os.replace(partial, path)", "os.remove(partial)"))
    done = xnatctl("plugins", "check", folder, "-o", "json")
    assert done.code == 8
    failed = [test for test in done.document["tests"] if test["result"] == "failed"]
    assert {test["provided"] for test in failed} == {"tests of xnatctl-mine"}
    assert "every item gets one outcome and arrives" in {test["test"] for test in failed}
