"""What the page on installing shows, and the files of `packaging` that it leads to."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from xnatctl import __version__

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PACKAGING = ROOT / "packaging"
PAGE = DOCS / "how-to" / "install.md"
BLOCKS = re.findall(r"<!-- not run: test_install.py .*? -->\n```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
#: As conda-forge names them.
CONDA = {"xxhash": "python-xxhash", "isal": "python-isal"}


def requirements(extras: set[str]) -> list[Requirement]:
    """What the package and these extras need, without the package itself."""
    texts = [*PROJECT["dependencies"], *(text for extra in sorted(extras) for text in EXTRAS[extra])]
    return [found for found in map(Requirement, texts) if found.name != "xnatctl"]


@pytest.mark.parametrize(
    ("name", "extras", "option"),
    [("requirements.lock", set(EXTRAS), "--all-extras"), ("container.lock", {"dicom"}, "--extra dicom")],
)
def test_a_lock_names_a_fitting_version_of_everything(name, extras, option):
    text = (PACKAGING / name).read_text()
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
    for need in requirements(extras):
        assert need.specifier.contains(locked[need.name], prereleases=True), f"renew {name}: {need}"
    entries = re.split(r"^(?=[\w-]+==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert f"uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes {option}" in text
    assert "://" not in text


def test_the_container_runs_what_exists():
    text = (PACKAGING / "Containerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split()), sources
    commands = re.findall(r"^## (xnatctl .+)$", (DOCS / "reference" / "commands.md").read_text(), re.MULTILINE)
    assert 'CMD ["xnatctl", "doctor", "-q"]' in text
    assert "xnatctl doctor" in commands
    known = (DOCS / "reference" / "environment.md").read_text()
    assert all(f"`{name}`" in known for name in re.findall(r"(X[A-Z_]+)=", text))
    user = re.findall(r"^USER (\d+)$", text, re.MULTILINE)
    assert user
    assert user[-1] != "0"


def test_the_recipe_needs_what_the_project_needs():
    recipe = yaml.safe_load((PACKAGING / "conda" / "recipe.yaml").read_text())

    def conda(needs: list[Requirement]) -> set[str]:
        return {f"{CONDA.get(need.name, need.name)} {need.specifier}" for need in needs}

    assert recipe["context"]["version"] == __version__
    assert f">={recipe['context']['python_min']}" == PROJECT["requires-python"]
    assert set(recipe["requirements"]["run"]) == {
        "python >=${{ python_min }}",
        *conda(requirements({"dicom"})),
    }
    constraints = conda(requirements({"keyring", "sandbox", "dask"})) - conda(requirements({"dicom"}))
    assert set(recipe["requirements"]["run_constraints"]) == constraints
    assert recipe["build"]["python"]["entry_points"] == [f"xnatctl = {PROJECT['scripts']['xnatctl']}"]
    assert recipe["about"]["summary"] == PROJECT["description"]


@pytest.mark.lab
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][2:60])
def test_the_ways_to_install_work(block, tmp_path, environment):
    """In an empty home, from the index that pip is set up with; for git the address of the repository is this folder."""
    (tmp_path / "xnatctl").symlink_to(ROOT)
    script = block.replace("$ ", "")
    git = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://git.example.org/xnatctl.git",
    }
    for tool in ("pipx", "uv"):
        if re.search(rf"^{tool}x? ", script, re.MULTILINE) and shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env={**environment, "HOME": str(tmp_path), **git},
        check=True,
    )
    tools = tmp_path / ".local" / "bin" / "xnatctl"
    if "install '" in script and "-env" not in script:
        assert subprocess.run([tools, "--version"], capture_output=True, text=True, check=True).stdout
