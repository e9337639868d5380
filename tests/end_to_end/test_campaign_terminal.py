"""`campaign run` at a terminal, where a person is asked and looks at the display."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import closing

from campaigns import freeze, write_exams
from terminal import Terminal


def test_a_question_is_not_drawn_over(tmp_path, sandbox, environment):
    """The display goes on once the person has logged in."""
    campaign = freeze(tmp_path / "c", write_exams(tmp_path / "exams", 1), sandbox.url)
    lasting = {key: value for key, value in environment.items() if not key.startswith("XNAT")} | {"TERM": "xterm"}
    command = f"{shlex.quote(sys.executable)} -m xnatctl campaign run {shlex.quote(str(campaign.directory))}"
    with closing(Terminal(tmp_path, lasting)) as terminal:
        asked = terminal.begin(command, lambda text: "User name for" in text and text.endswith(": "))
        time.sleep(0.6)  # a display that does not rest draws meanwhile
        after, code = terminal.answer("alice", "alice")
    assert code == 0, asked + after
    assert asked.count("proven") <= 1
    assert after.lstrip().startswith("Password"), after
    assert "1 of 1 row proven" in after
