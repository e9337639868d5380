"""The contract of commands parses the examples of the spec, with options of transports as well."""

from __future__ import annotations

import pytest

from xnatctl.api import CommandSpec
from xnatctl.testing.contracts import CommandContract
from xnatctl.testing.watch import Mistake


def check(*examples):
    class Contract(CommandContract):
        spec = CommandSpec(path="session upload", summary="x", target="xnatctl_session.cli:upload", examples=examples)

    Contract().test_its_examples_are_understood()


@pytest.fixture(autouse=True)
def _home(monkeypatch, environment):
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, environment[name])


def test_examples_that_are_whole():
    check("# A comment.", "xnatctl session upload exam -P DEMO -S s \\", "  -E e --compress never > report.txt")


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("xnatctl session upload exam -P DEMO -S s -E e --colour", "No such option '--colour'"),
        ("xnatctl session upload exam -P DEMO -S s", "Missing option '-E'"),
        ("xnatctl session verify exam -P DEMO -S s -E e", "runs another command"),
    ],
)
def test_examples_that_cannot_work(line, mistake):
    with pytest.raises(Mistake, match=mistake):
        check(line)
