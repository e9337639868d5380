"""Commands that are printed can be split again, and look as the shell of the system wants them."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnatctl.operating_system import command_line

WORDS = st.lists(st.text("ab \\\"'$%&é", max_size=8), max_size=4)


@pytest.fixture(scope="module", params=["linux", "win32"])
def system(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line.sys, "platform", request.param)
        yield request.param


@given(words=WORDS)
def test_what_was_joined_is_split(system, words):
    assert command_line.split_command(command_line.join_command(words)) == words


def test_a_path_of_windows_needs_quotes_only_for_spaces(system):
    line = command_line.join_command(["xnatctl", "C:\\data\\exam", "C:\\my data\\exam", 'a "b"', "x&y"])
    if system == "win32":
        assert line == 'xnatctl C:\\data\\exam "C:\\my data\\exam" "a \\"b\\"" "x&y"'
    assert command_line.split_command(line) == ["xnatctl", "C:\\data\\exam", "C:\\my data\\exam", 'a "b"', "x&y"]


def test_an_empty_word_is_kept(system):
    assert command_line.split_command(command_line.join_command(["a", "", "b"])) == ["a", "", "b"]


@pytest.mark.skipif(sys.platform != "win32", reason="the C library of Windows splits a command line")
def test_the_system_splits_in_the_same_way():
    words = ["C:\\my data\\", 'say "x"', "a\\\\b", 'end\\"', ""]
    line = f'{command_line.join_command([sys.executable])} -c "import sys; print(sys.argv[1:])" '
    done = subprocess.run(line + command_line.join_command(words), capture_output=True, check=True)
    assert ast.literal_eval(done.stdout.decode()) == words
