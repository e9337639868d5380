"""The contract of commands."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import ClassVar

import click
import pytest

from xnatctl.cli.app import App
from xnatctl.cli.help import commands_in
from xnatctl.testing.contracts.base import Contract
from xnatctl.testing.watch import expect

#: The exit codes of the documentation, and those of an interrupt.
_CODES = frozenset({*range(9), 130, 143})
#: Words of an example that end the command.
_OF_THE_SHELL = frozenset({">", ">>", "<", "|", "&&", ";"})


class CommandContract(Contract):
    """For commands. Set `spec`, the CommandSpec.

    `arguments` are those of a run that ends by itself; without them only the help is tested.
    """

    arguments: ClassVar[Sequence[str] | None] = None

    def command(self) -> click.Command:
        """The command of click that the spec names."""
        with self.calling("target"):
            command = self.target
        expect(isinstance(command, click.Command), f"the target is {type(command).__name__} and no command of click")
        found: click.Command = command
        return found

    def test_it_has_a_help(self) -> None:
        """`-h` works, and says what the command does."""
        command = self.command()
        with self.calling("get_help", network=False):
            text = command.get_help(click.Context(command, info_name=self.spec.path))
        expect(command.help, "the command has no help; give @click.command a text")
        expect(text.strip(), "the help of the command is empty")

    def test_its_options_leave_those_of_core_alone(self) -> None:
        """Every command has -h, -o, -q and -v from `common_options`, and gives them no other meaning."""
        reserved = {"-h": "help", "-o": "output", "-q": "quiet", "-v": "verbose"}
        for parameter in self.command().params:
            for flag in parameter.opts:
                wanted = reserved.get(flag, parameter.name)
                expect(parameter.name == wanted, f"the option {flag} means {wanted} in every command; use another one")

    def test_its_examples_are_understood(self) -> None:
        """Each example is a whole command line: of this command, with the options and arguments that it has."""
        command, path = self.command(), self.spec.path.split()
        root = click.Context(click.Group("xnatctl"), info_name="xnatctl", obj=App())  # it knows options of transports
        for line in commands_in(self.spec.examples):
            words = list(takewhile(lambda word: word not in _OF_THE_SHELL, shlex.split(line)))
            expect(words[: len(path) + 1] == ["xnatctl", *path], f"the example {line!r} runs another command")
            try:
                command.make_context(self.spec.path, words[len(path) + 1 :], parent=root)
            except click.UsageError as error:
                wrong = not isinstance(error, click.BadParameter) or isinstance(error, click.MissingParameter)
                expect(not wrong, f"the example {line!r} cannot work: {error.format_message()}")

    def test_it_runs(self, tmp_path: Path) -> None:
        """With `-o json` standard output is one JSON document, and the exit code is one of the documentation."""
        if self.arguments is None:
            pytest.skip("set `arguments` to test a run")
        (tmp_path / "config.yaml").touch()
        done = subprocess.run(
            [sys.executable, "-m", "xnatctl", *self.spec.path.split(), *self.arguments, "-o", "json"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=self.seconds,
            check=False,
            cwd=tmp_path,
        )
        expect(done.returncode in _CODES, f"the command ended with exit code {done.returncode}; see the documentation")
        try:
            json.loads(done.stdout)
        except ValueError:
            expect(
                False, f"with -o json the command printed {done.stdout[:80]!r} instead of one document; use app.render"
            )
