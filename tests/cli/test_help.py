"""The help of every command: headings, examples that parse as they stand, and where the documentation is."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from xnatctl.cli.app import App
from xnatctl.cli.builtin import GROUPS, PAGES
from xnatctl.cli.error_pages import DOCUMENTATION, address_of
from xnatctl.cli.help import commands_in, grouped
from xnatctl.cli.lazy import examples_of, spec_of
from xnatctl.cli.main import Root

ROOT = Path(__file__).parents[2]
#: A program starts it.
WITHOUT_EXAMPLES = {"campaign work"}
#: The words of an example that xnatctl gets: up to a redirection, a pipe or the end of a substitution.
OURS = re.compile(r"xnatctl (?P<words>(?:'[^']*'|[^|>)<'\"])+)")


def contexts(group: click.Group | None = None, parent: click.Context | None = None) -> list[click.Context]:
    """A context for every command, made without its arguments."""
    if group is None or parent is None:
        app = App()
        app.external = False
        group = Root()
        parent = click.Context(group, info_name="xnatctl", obj=app)
    found = []
    for name in group.list_commands(parent):
        _, command, _ = group.resolve_command(parent, [name])
        assert command is not None
        context = command.context_class(command, parent=parent, info_name=name)
        found += contexts(command, context) if isinstance(command, click.Group) else [context]
    return found


@pytest.fixture(scope="module")
def all_commands():
    for module in ("werkzeug", "pydicom", "pynetdicom"):
        pytest.importorskip(module, reason="an extra is not installed, so some commands have no help")
    return {context.command_path.removeprefix("xnatctl "): context for context in contexts()}


def test_every_command_has_examples_that_fit_a_terminal(all_commands):
    for path, context in all_commands.items():
        examples = examples_of(context)
        assert path in WITHOUT_EXAMPLES or commands_in(examples), path
        assert not [line for line in examples if len(line) > 78], path
        assert not any("\\" in line[:-1] for line in examples), path


def test_every_example_is_understood(all_commands, tmp_path, monkeypatch):
    """Each is parsed by click to the end: its command, options, choices and arguments."""
    monkeypatch.chdir(tmp_path)
    for path, context in all_commands.items():
        for line in commands_in(examples_of(context)):
            for words in OURS.finditer(line):
                given = shlex.split(words["words"])
                assert given[: len(path.split())] == path.split(), (path, line)
                app = App(given)
                app.external = False
                root = Root()
                with root.make_context("xnatctl", given, obj=app) as at_root:
                    at, rest = at_root, given
                    while isinstance(at.command, click.Group):
                        name, command, rest = at.command.resolve_command(at, rest)
                        at = command.make_context(name, rest, parent=at)
                assert at.command_path == f"xnatctl {path}"
            assert OURS.search(line) or path == "campaign submit", line


def test_the_help_ends_with_examples_and_the_documentation(xnatctl):
    text = xnatctl("session", "upload", "-h", env={"COLUMNS": "80"}).out
    headings = re.findall(r"^(\w.*):$", text, re.MULTILINE)
    assert headings[:5] == ["Destination", "Source", "Sending", "Checking", "Transports tar and zip"]
    assert headings[-4:] == ["Server and login", "Output", "Examples", "Documentation"]
    assert "\n  xnatctl session upload exam -P DEMO -S s01 -E s01_mr\n" in text
    assert text.endswith(f"\nDocumentation:\n{DOCUMENTATION}/how-to/upload-a-session.md\n")
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ((), ""),
        (("session",), "/how-to/upload-a-session.md"),
        (("config",), "/reference/configuration.md"),
        (("config", "show"), "/reference/configuration.md"),
    ],
)
def test_every_help_names_its_page(xnatctl, words, page):
    text = xnatctl(*words, "-h", env={"COLUMNS": "120"}).out
    assert text.endswith(f"\nDocumentation: {DOCUMENTATION}{page}\n")
    assert ("\n  xnatctl sandbox demo\n" in text) is (not words)


def test_the_pages_that_help_names_exist(all_commands):
    """Also the part of one that a # names, which a Git host and the site give to a heading."""
    specs = {path: spec_of(context) for path, context in all_commands.items()}
    for page in {*PAGES.values(), *(spec.page for spec in specs.values())}:
        path, _, part = page.partition("#")
        headings = re.findall(r"^#+ (.*)$", (ROOT / "docs" / path).read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
        assert not part or part in anchors, page
        assert len(address_of(page)) <= 80, "a terminal of 80 columns would break it"
    assert set(GROUPS) <= set(PAGES)


def test_every_option_has_one_heading(all_commands):
    for path, context in all_commands.items():
        parameters = context.command.get_params(context)
        shown = [parameter for _, group in grouped(parameters) for parameter in group]
        options = [parameter for parameter in parameters if isinstance(parameter, click.Option)]
        assert sorted(map(id, shown)) == sorted(map(id, options)), path
        assert "--help" in shown[-1].opts


def test_the_address_of_the_documentation_is_that_of_the_distribution():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Documentation"] == DOCUMENTATION


PLUGIN = """
import click
from xnatctl.api import CommandSpec, Option, TransportSpec, hookimpl
from xnatctl.api.commands import common_options, option_group

requires_api = 1

@click.command(help="Something.")
@option_group("Colours", click.option("--red"), click.option("--blue"))
@click.option("--plain")
@common_options
def paint(**given):
    ...

@hookimpl
def xnatctl_commands():
    return [
        CommandSpec(path="paint", summary="Paint.", target=__name__ + ":paint", examples=("# Red.", "xnatctl paint --red 1"),
                    page="https://paint.example.org")
    ]

@hookimpl
def xnatctl_transports():
    return [
        TransportSpec(
            name="vault", summary="To a vault.", target=__name__ + ":no", options=(Option(name="shelf", help="Where."),)
        )
    ]
"""


def test_a_plugin_gets_the_same(xnatctl, install):
    env = {**install("paint", PLUGIN), "COLUMNS": "80"}
    text = xnatctl("paint", "-h", env=env).out
    assert re.findall(r"^(\w.*):$", text, re.MULTILINE) == ["Options", "Colours", "Output", "Examples"]
    assert "\nColours:\n  --red TEXT\n  --blue TEXT\n" in text
    assert "\nExamples:\n  # Red.\n  xnatctl paint --red 1\n\nDocumentation: https://paint.example.org\n" in text
    assert "\nTransport vault:\n  --shelf TEXT  Where.\n" in xnatctl("session", "upload", "-h", env=env).out


def test_a_project_with_a_default_in_the_profile_is_not_called_required(xnatctl):
    told = " ".join(xnatctl("session", "upload", "-h").out.split())
    assert "[default: default_project of the profile] -S, --subject" in told
    assert "Session label. [required]" in told
