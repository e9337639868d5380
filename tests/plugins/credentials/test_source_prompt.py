"""The prompt, on a real terminal: questions on stderr, nothing on stdout, no echo of the password."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

pty = pytest.importorskip("pty", reason="the system has no pseudo-terminals in the standard library")

_ASK = """
import sys
from xnatctl.api import CredentialRequest
from xnatctl_credentials.prompt import Prompt
user = sys.argv[1] or None
found = Prompt().get(CredentialRequest(server="https://xnat.example.org", username=user))
print("NONE" if found is None else f"{type(found).__name__} {found.username} {found.secret}")
"""


class Terminal:
    """A process whose stdin and stderr are a terminal, and whose stdout is a pipe."""

    def __init__(self, user: str) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _ASK, user],
            stdin=slave, stdout=subprocess.PIPE, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.shown:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"never asked {text!r}, but {self.shown!r}"
            self.shown += os.read(self._master, 4096).decode()

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self) -> str:
        out, _ = self._process.communicate(timeout=60)
        return out.decode().strip()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Callable[[str], Terminal]]:
    made: list[Terminal] = []

    def make(user: str) -> Terminal:
        made.append(Terminal(user))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_user_and_password_are_asked_for(terminal: Callable[[str], Terminal]) -> None:
    screen = terminal("")
    screen.wait_for("User name for https://xnat.example.org: ")
    screen.type("alice\n")
    screen.wait_for("Password of alice for https://xnat.example.org: ")
    screen.type("hush hush\n")
    assert screen.end() == "Password alice hush hush"
    assert "hush" not in screen.shown


def test_a_known_user_is_not_asked_for_again(terminal: Callable[[str], Terminal]) -> None:
    screen = terminal("bob")
    screen.wait_for("Password of bob for https://xnat.example.org: ")
    screen.type("hush\n")
    assert screen.end() == "Password bob hush"
    assert "User name" not in screen.shown


@pytest.mark.parametrize(("user", "keys"), [("", "\n"), ("", "\x04"), ("bob", "\n"), ("bob", "\x04")])
def test_an_empty_answer_means_no(user: str, keys: str, terminal: Callable[[str], Terminal]) -> None:
    screen = terminal(user)
    screen.wait_for("https://xnat.example.org: ")
    screen.type(keys)
    assert screen.end() == "NONE"


def test_control_characters_of_a_name_are_shown_not_obeyed(terminal: Callable[[str], Terminal]) -> None:
    screen = terminal("a\x1b[2Jb")
    screen.wait_for("Password of a\\x1b[2Jb for")
    screen.type("\n")
    assert screen.end() == "NONE"
