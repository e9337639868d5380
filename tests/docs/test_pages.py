"""The pages say what the code does."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from xnatctl.plugin.hookspecs import XnatctlSpecs
from xnatctl.settings import schema

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), ROOT / "tests" / "README.md"])
SOURCES = [p for folder in ("core", "plugins") for p in (ROOT / folder).rglob("*.py")]


def test_the_command_reference_is_generated():
    done = subprocess.run([sys.executable, DOCS / "generate.py"], capture_output=True, text=True, check=True)
    assert (DOCS / "reference" / "commands.md").read_text() == done.stdout, "run: python docs/generate.py"


def test_the_reference_of_the_api_is_generated():
    done = subprocess.run([sys.executable, DOCS / "api_reference.py"], capture_output=True, text=True, check=True)
    assert (DOCS / "reference" / "api.md").read_text() == done.stdout, (
        "run: python docs/api_reference.py > docs/reference/api.md"
    )


def test_every_field_of_the_api_is_described():
    """Beside the field, or in the docstring of its class. Also every function, class and member of an enum."""
    page = (DOCS / "reference" / "api.md").read_text()
    for entry in re.split(r"^#### ", page, flags=re.MULTILINE)[1:]:
        name, _, body = entry.partition("\n")
        prose = re.sub(r"```.*?```|^\|.*?$|^#.*?$", "", body, flags=re.DOTALL | re.MULTILINE)
        assert prose.strip(), name
        for row in re.findall(r"^\| `(\w+)` \|(.*)\|$", body, re.MULTILINE) if "| field |" in body else ():
            cells = row[1].split(" | ")
            assert f"`{row[0]}" in prose or re.search("[^` |]", re.sub("`[^`]*`", "", cells[-1])), f"{name}.{row[0]}"
        for member, cells in re.findall(r"^\| `(\w+)` \|(.*)\|$", body, re.MULTILINE) if "| member |" in body else ():
            assert re.search("[a-z]", re.sub("`[^`]*`", "", cells)), f"{name}.{member}"


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("architecture_picture.py", "architecture"),
        ("flow_pictures.py", "data-flow"),
        ("flow_pictures.py", "session-states"),
    ],
)
def test_the_pictures_are_generated(script, name):
    done = subprocess.run([sys.executable, DOCS / script, name], capture_output=True, text=True, check=True)
    page = DOCS / "explanation" / "pictures" / f"{name}.svg"
    assert page.read_text() == done.stdout, f"run: python docs/{script} {name} > {page.relative_to(ROOT)}"


def test_every_hook_is_documented_with_its_signature():
    page = (DOCS / "reference" / "hooks.md").read_text()
    for name, hook in inspect.getmembers(XnatctlSpecs, inspect.isfunction):
        arguments = [argument for argument in inspect.signature(hook).parameters if argument != "self"]
        assert f"## {name}({', '.join(arguments)})\n" in page
        assert f"def {name}({', '.join(arguments)}):" in page, "with an example"


def test_the_variables_on_the_page_are_those_that_the_code_reads():
    ours, others = set(), set()
    for path in SOURCES:
        text = path.read_text()
        ours |= set(re.findall(r"\bXNAT(?:CTL)?_[A-Z_]+[A-Z]\b", text))
        others |= set(re.findall(r'(?:os\.environ(?:\.get\(|\[)|_xdg\()"([A-Z_]+)"', text))
    ours -= {"XNAT_CSRF"}  # a parameter of the server's
    ours = {name for name in ours if not re.fullmatch(r"XNAT_[ES]", name)}
    rows = re.findall(r"^\|(.*?)\|", (DOCS / "reference" / "environment.md").read_text(), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}
    assert {name for name in documented if name.startswith("XNAT")} == ours
    assert others <= documented


def test_the_keys_on_the_page_are_those_of_the_configuration():
    rows = re.findall(r"^\|(.*?)\|", (DOCS / "reference" / "configuration.md").read_text(), re.MULTILINE)
    documented = [key for row in rows[rows.index(" key ") :] for key in re.findall(r"`([a-z_.]+)`", row)]
    plugins = [f"plugins.{name}" for name in schema.PLUGINS]
    assert sorted(documented) == sorted([*(set(schema.TOP) - {"plugins"}), *plugins, *schema.PROFILE, *schema.BUDGET])


def test_every_field_of_the_report_is_documented():
    from xnatctl.model.refs import Destination
    from xnatctl.model.report import Report, Status

    page = (DOCS / "reference" / "output.md").read_text()
    report = Report(
        command="",
        status=Status.COMPLETE,
        destination=Destination(server="", project="", subject="", session=""),
        transport="",
    )
    for key, value in report.as_document().items():
        assert f"`{key}`" in page or f"`{key}." in page or key == "schema", key
        if isinstance(value, dict):
            for inner in value:
                assert f".{inner}`" in page, f"{key}.{inner}"


def test_the_index_lists_every_page():
    listed = set(re.findall(r"\]\(([^)]+)\)", (DOCS / "README.md").read_text()))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert {page for page in pages if "/decisions/" not in page and not page.startswith("examples")} - {
        "README.md",
        "index.md",
    } <= listed
    decisions = DOCS / "explanation" / "decisions"
    index = (decisions / "README.md").read_text()
    assert all(f"({page.name})" in index for page in decisions.glob("*.md") if page.name != "README.md")


def test_the_way_of_one_file_exists_and_is_short():
    page = (DOCS / "explanation" / "architecture.md").read_text()
    hops = re.findall(r"^\| (\d+) \| `([\w.]+):([\w.]+)` \|", page, re.MULTILINE)
    assert [int(number) for number, _, _ in hops] == list(range(1, len(hops) + 1))
    assert 10 < len(hops) <= 15
    for _, module, name in hops:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    packages = [".".join(module.split(".")[:2]) for _, module, _ in hops]
    assert "xnatctl.cli" not in packages[packages.index("xnatctl.delivery") :], "it never climbs back into cli"


def test_every_document_is_listed():
    printed = {name for path in SOURCES for name in re.findall(r'"(xnatctl\.[a-z-]+/\d)"', path.read_text())}
    printed -= {name for name in printed if name.startswith("xnatctl.token/")}  # a file with a session token
    page = (DOCS / "reference" / "output.md").read_text()
    assert printed == set(re.findall(r"`(xnatctl\.[a-z-]+/\d)`", page[page.index("## All documents") :]))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            found = page.parent / path if path else page
            assert found.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(found), f"{page.name}: {target}"


#: Of the example plugin, and a placeholder; of Python, pytest, mypy and the benchmarks.
OTHER_OPTIONS = {"--inbox-folder", "--inbox-pause", "--level", "--name", "--help", "--ignore", "--load", "--site-token"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_options_and_commands_in_the_text_exist(page):
    reference = (DOCS / "reference" / "commands.md").read_text()
    text = re.sub(r"```.*?```|<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
    option = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    own = re.findall(r'Option\(\s*name="(\w+)"', "".join(path.read_text() for path in page.parent.glob("*/plugin.py")))
    declared = {f"--{negation}{name.replace('_', '-')}" for name in own for negation in ("", "no-")}
    assert set(option.findall(text)) <= set(option.findall(reference)) | OTHER_OPTIONS | declared
    commands = re.findall(r"^## (xnatctl .+)$", reference, re.MULTILINE)
    for words in re.findall(r"`(xnatctl [a-z]+(?: [a-z-]+)?)", text):
        assert any(
            f"{command} ".startswith(f"{words} ") or f"{words} ".startswith(f"{command} ") for command in commands
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_nobody_is_told_to_install_the_stranger_of_our_name(page):
    assert not re.search(r"pip install \"?xnatctl(?!\[)", page.read_text())


def test_the_readme_names_the_commands_that_ci_runs():
    readme, gate = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    assert ".venv/bin/tox" in readme
    assert "/bin/tox" in gate
    assert 'pip install -e ".[all]" tox' in readme


def test_the_transport_on_the_page_is_the_one_that_is_tested():
    code = (DOCS / "examples" / "xnatctl-series" / "xnatctl_series" / "transport.py").read_text()
    assert f"```python\n{code}```" in (DOCS / "how-to" / "write-a-plugin.md").read_text()


def test_the_stage_on_the_page_is_the_one_that_is_tested():
    page = (DOCS / "how-to" / "write-a-plugin.md").read_text()
    package = DOCS / "examples" / "xnatctl-inbox" / "xnatctl_inbox"
    assert f"```python\n{(package / 'stage.py').read_text()}```" in page
    _, mark, hooks = (package / "plugin.py").read_text().partition("@hookimpl\ndef xnatctl_stages")
    assert f"```python\n{mark}{hooks}```" in page


@pytest.mark.parametrize("name", ["plugin.py", "source.py"])
def test_the_credential_source_on_the_page_is_the_one_that_is_tested(name):
    code = (DOCS / "examples" / "xnatctl-vault" / "xnatctl_vault" / name).read_text()
    assert f"```python\n{code}```" in (DOCS / "how-to" / "write-a-plugin.md").read_text()


@pytest.mark.parametrize("name", ["plugin.py", "transport.py"])
def test_the_example_plugin_uses_the_api_alone(name):
    text = (DOCS / "examples" / "xnatctl-series" / "xnatctl_series" / name).read_text()
    assert set(re.findall(r"from (xnatctl[\w.]*) import", text)) == {"xnatctl.api"}


def test_the_matrix_of_promises_names_tests_that_exist():
    """And every module of the fault laboratory has its line."""
    page = (DOCS / "reference" / "test-matrix.md").read_text()
    named = re.findall(r"`([a-z_0-9/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 20
    for module, test in named:
        source = (ROOT / "tests" / module).read_text()
        assert not test or f"def {test}(" in source, f"{module}::{test}"
    lab = {path.name for path in (ROOT / "tests" / "end_to_end" / "lab").glob("test_*.py")}
    assert lab <= {Path(module).name for module, _ in named}
