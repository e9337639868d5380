"""Entry points are found as importlib.metadata finds them, without it."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from xnatctl.plugin import installed

POINTS = "# a comment\n[console_scripts]\nother = other:main\n\n[xnatctl]\n one = first.page \ntwo=second.page:thing\n"


def distribution(directory: Path, name: str, points: str | None = POINTS, metadata: str | None = None) -> Path:
    info = directory / name
    info.mkdir(parents=True)
    stem, _, version = name.rpartition(".")[0].partition("-")
    kind = "PKG-INFO" if name.endswith(".egg-info") else "METADATA"
    said = f"Metadata-Version: 2.1\nName: {stem}\nVersion: {version}\n\nText.\nName: not this\n"
    (info / kind).write_text(said if metadata is None else metadata)
    if points is not None:
        (info / "entry_points.txt").write_text(points)
    return info


def by_the_library() -> list[installed.Declared]:
    return list(installed._by_library("xnatctl"))


def test_distributions_of_every_kind_are_found_as_the_library_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    distribution(first, "Some.Name-1.0.dist-info")
    distribution(second, "some_name-2.0.dist-info")  # shadowed
    distribution(second, "plain-3.dist-info", points=None)
    distribution(second, "other-4.dist-info", points="[console_scripts]\nx = y:z\n")
    distribution(second, "old-5.egg-info", metadata="Name: Old One\nVersion: 5.post1\n")
    (second / "file-6.egg-info").write_text("Name: file\nVersion: 6\n")
    monkeypatch.setattr(sys, "path", [str(first), str(tmp_path / "nothing there"), str(second), str(first)])
    found = installed.declared("xnatctl")
    assert found == by_the_library()
    assert {(entry.name, entry.value, entry.distribution, entry.version) for entry in found} == {
        ("one", "first.page", "Some.Name", "1.0"),
        ("two", "second.page:thing", "Some.Name", "1.0"),
        ("one", "first.page", "Old One", "5.post1"),
        ("two", "second.page:thing", "Old One", "5.post1"),
    }


def test_the_working_directory_on_the_path_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "here-1.dist-info")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [""])
    assert installed.declared("xnatctl") == by_the_library()
    assert len(by_the_library()) == 2


@pytest.mark.parametrize("suffix", [".zip", ".egg"])
def test_what_is_packed_is_found_by_the_library(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / f"packed{suffix}"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("packed-1.dist-info/METADATA", "Name: packed\nVersion: 1\n")
        file.writestr("packed-1.dist-info/entry_points.txt", POINTS)
    distribution(tmp_path / "beside", "beside-2.dist-info")
    monkeypatch.setattr(sys, "path", [str(packed), str(tmp_path / "beside")])
    found = installed.declared("xnatctl")
    assert {entry.distribution for entry in found} == {"packed", "beside"}


def test_another_finder_is_asked_through_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import DistributionFinder, PathDistribution

    info = distribution(tmp_path, "elsewhere-1.dist-info")

    class Finder(DistributionFinder):
        def find_distributions(self, context: object = None) -> list[PathDistribution]:
            return [PathDistribution(info)]

    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    assert {entry.distribution for entry in installed.declared("xnatctl")} == {"elsewhere"}


def test_in_this_environment_both_find_the_same() -> None:
    for group in ("xnatctl", "console_scripts", "pytest11"):
        assert installed.declared(group) == list(installed._by_library(group))
