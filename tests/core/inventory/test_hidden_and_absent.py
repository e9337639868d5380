"""Content decides under hidden names; and content that is not on this disk is named with the command that fetches it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from systems import needs_links

from xnatctl.inventory.files import scan_files
from xnatctl.inventory.names import hidden_part, version_control, why_hidden
from xnatctl.inventory.walk import Inventory, scan_path
from xnatctl.testing import write_exam

POINTER = b"/annex/objects/SHA256E-s33000--11.dcm\n"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 33000\n"


@pytest.fixture
def exam(tmp_path: Path) -> Any:
    return write_exam(tmp_path / "exam", series=2, instances=4, seed=3, clutter=False)


def reasons(inventory: Any) -> dict[str, str]:
    return {entry.path: entry.reason for entry in inventory.excluded}


def unreadable(inventory: Any) -> dict[str, str]:
    return {entry.path: entry.reason for entry in inventory.unreadable}


def uids(inventory: Inventory) -> set[str]:
    return {item.sop_instance_uid for item in inventory.items}


@pytest.mark.parametrize(
    ("path", "hidden", "why"),
    [
        (".a/b", ".a", "hidden"),
        ("a/.b/.c", "a/.b", "hidden"),
        (".\\DICOM\\I1", None, None),
        ("..\\x", None, None),
        ("a/...", "a/...", "hidden"),
        ("a\\.b\\c", "a\\.b", "hidden"),
        ("__MACOSX/._I1", "__MACOSX", "left behind by an operating system"),
        ("a/__MACOSX2/b", None, None),
        ("x/Thumbs.db", "x/Thumbs.db", "left behind by an operating system"),
        ("1.2.3.4/I.dcm", None, None),
        ("", None, None),
    ],
)
def test_hidden_names(path: str, hidden: str | None, why: str | None) -> None:
    assert hidden_part(path) == hidden
    assert why_hidden(path) == why


def test_folders_of_version_control() -> None:
    assert version_control("a/.git/objects/x") == "a/.git"
    assert version_control(".datalad/x") == ".datalad"
    assert version_control("a\\.svn\\x") == "a\\.svn"
    assert version_control("a/.git") is None, "a file"
    assert version_control("a/.github/x") is None


def test_dicom_under_hidden_names_is_found(exam: Any) -> None:
    first, second, third, fourth, *_ = (record.path for record in exam.instances.values())
    hidden, litter = exam.directory / ".T2_FLAIR", exam.directory / "__MACOSX" / "x"
    hidden.mkdir()
    litter.mkdir(parents=True)
    first.rename(hidden / "I1")
    second.rename(exam.directory / ".1.2.840.dcm")
    third.rename(litter / "._I3")
    (exam.directory / "$RECYCLE.BIN").mkdir()
    fourth.rename(exam.directory / "$RECYCLE.BIN" / "$R1.dcm")
    (exam.directory / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (hidden / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (exam.directory / ".cache" / "deep").mkdir(parents=True)
    for number in range(5):
        (exam.directory / ".cache" / "deep" / f"{number}.txt").write_text("text")
    (exam.directory / ".git").mkdir()
    shutil.copyfile(hidden / "I1", exam.directory / ".git" / "I1")
    found = scan_path(str(exam.directory))
    assert uids(found) == set(exam.instances)
    assert reasons(found) == {
        ".DS_Store": "hidden",
        ".T2_FLAIR/.DS_Store": "hidden",
        ".cache": "hidden",
        ".git": "a folder of version control, which is not entered",
    }
    assert not found.unreadable
    assert {item.path for item in found.others} == set(), "hidden files are no resources"
    assert found.files_seen == len(exam.instances) + 7


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_dicom_under_hidden_names_in_archive_files(exam: Any, tmp_path: Path, kind: str) -> None:
    names = [".\\DICOM\\I1", ".hidden/I2", "__MACOSX/I3", ".I4", "./a/.b/I5", "I6", "...", "..x/I8"]
    members = [(name, record.path.read_bytes()) for name, record in zip(names, exam.instances.values(), strict=True)]
    members += [
        ("__MACOSX/._I1", b"\0\5\26\7x"),
        (".git/config", b"[core]"),
        (".git/HEAD", b"ref"),
        (".DS_Store", b"Bud1"),
    ]
    target = tmp_path / f"packed.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for name, data in members:
                archive.writestr(zipfile.ZipInfo(name), data)
    else:
        with tarfile.open(target, "w") as tar:
            for name, data in members:
                source = tmp_path / "member"
                source.write_bytes(data)
                tar.add(source, name)
    found = scan_path(str(target))
    assert uids(found) == set(exam.instances)
    assert reasons(found) == {
        "__MACOSX/._I1": "left behind by an operating system",
        ".git": "a folder of version control, which is not entered",
        ".DS_Store": "hidden",
    }


def test_a_packed_file_under_a_hidden_name_is_looked_into(exam: Any) -> None:
    with zipfile.ZipFile(exam.directory / ".backup.zip", "w") as archive:
        archive.write(next(iter(exam.instances.values())).path, "I1")
    found = scan_path(str(exam.directory))
    assert [item.path for item in found.others] == [".backup.zip"]
    assert found.packed == found.hidden == {".backup.zip"}


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root reads everything")
def test_system_folders_that_cannot_be_read_are_no_loss(exam: Any) -> None:
    for name in (".Trashes", "System Volume Information", ".private"):
        (exam.directory / name).mkdir(mode=0)
    found = scan_path(str(exam.directory))
    assert set(unreadable(found)) == {".private"}


@needs_links
def test_what_a_resource_leaves_out_is_named(exam: Any) -> None:
    (exam.directory / ".bidsignore").write_text("x")
    (exam.directory / ".cache").mkdir()
    (exam.directory / ".cache" / "a").write_text("x")
    (exam.directory / ".cache" / "b").write_text("x")
    (exam.directory / ".svn").mkdir()
    (exam.directory / ".svn" / "entries").write_text("x")
    (exam.directory / "gone").symlink_to("nowhere")
    first = next(iter(exam.instances.values())).path
    first.rename(exam.directory / ".I1")
    found = scan_files(str(exam.directory))
    assert len(found.items) == len(exam.instances)
    assert ".I1" in found.dicom
    assert reasons(found) == {
        ".bidsignore": "hidden",
        ".cache": "hidden",
        ".svn": "a folder of version control, which is not entered",
        "gone": "symbolic link to nothing",
    }
    assert any("leads to nothing, first gone" in note for note in found.notes)
    assert [item.path for item in scan_files(str(exam.directory / ".bidsignore")).items] == [".bidsignore"]


# content that is elsewhere


def fetching(reason: str) -> str:
    """The command in a reason."""
    match = re.fullmatch("its content is not on this disk; fetch it with: (.*)", reason)
    assert match, reason
    return match[1]


@needs_links
@pytest.mark.parametrize("scan", [scan_path, scan_files])
def test_links_and_pointers_without_content(exam: Any, scan: Any) -> None:
    folder = exam.directory / "T1"
    folder.mkdir()
    (folder / "I 3").symlink_to("../.git/annex/objects/aa/bb/SHA256E-s1--0.dcm/SHA256E-s1--0.dcm")
    (folder / "I4").write_bytes(POINTER)
    (folder / "I5").write_bytes(LFS)
    (folder / "-I6").symlink_to("../../.git/modules/sub/annex/objects/aa/bb/K/K")
    (folder / "I7").symlink_to("I 3")
    (folder / "I8").write_bytes(b"../.git/annex/objects/aa/bb/K/K")  # where links cannot be made
    (folder / ".I9.dcm.icloud").write_bytes(b"bplist00\xd4\1\2\3")
    (folder / "about.txt").write_text("See /annex/objects/ for what is there.\nAnd more.\n")
    (folder / "nowhere").symlink_to("nothing")
    found = scan(str(exam.directory))
    assert len(found.items) == len(exam.instances) + (scan is scan_files)
    said = unreadable(found)
    assert set(said) == {f"T1/{name}" for name in ("I 3", "I4", "I5", "-I6", "I7", "I8", ".I9.dcm.icloud")}
    assert fetching(said["T1/I4"]) == f"git -C {folder} annex get I4"
    assert fetching(said["T1/I 3"]) == f"git -C {folder} annex get 'I 3'"
    assert fetching(said["T1/-I6"]) == f"git -C {folder} annex get ./-I6"
    assert fetching(said["T1/.I9.dcm.icloud"]) == f"brctl download {folder}/I9.dcm"
    assert fetching(said["T1/I5"]) == f"git -C {folder} lfs pull"
    assert reasons(found)["T1/nowhere"] == "symbolic link to nothing"
    assert any(note.startswith("1 symbolic link leads to nothing, first T1/nowhere") for note in found.notes)


def test_pointers_in_an_archive_file(exam: Any, tmp_path: Path) -> None:
    record = next(iter(exam.instances.values()))
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.write(record.path, "I1")
        archive.writestr("I2", POINTER)
        archive.writestr("I3", LFS)
    found = scan_path(str(tmp_path / "packed.zip"))
    assert uids(found) == {record.sop_instance_uid}
    said = unreadable(found)
    assert "git annex get" in said["I2"]
    assert "git lfs pull" in said["I3"]


def annexed(path: Path, repository: Path, git: Path) -> None:
    """Put a file into an annex as git-annex does: content under the git directory, a link in its place."""
    store = git / "annex" / "objects" / "aa" / "bb" / path.name
    store.mkdir(parents=True)
    path.rename(store / path.name)
    (store / path.name).chmod(0o444)
    path.symlink_to(os.path.relpath(store / path.name, path.parent))


@needs_links
@pytest.mark.parametrize("layout", ["repository", "below", "submodule", "worktree"])
def test_content_in_the_annex_of_the_same_repository_is_taken(exam: Any, tmp_path: Path, layout: str) -> None:
    records = list(exam.instances.values())
    root = exam.directory
    if layout == "repository":
        git = root / ".git"
    elif layout == "below":
        git = tmp_path / ".git"
    elif layout == "submodule":
        git = tmp_path / ".git" / "modules" / "exam"
        git.mkdir(parents=True)
        (root / ".git").write_text("gitdir: ../.git/modules/exam\n")
    else:
        main = tmp_path / "main" / ".git"
        tree = main / "worktrees" / "exam"
        tree.mkdir(parents=True)
        (tree / "commondir").write_text("../..\n")
        (root / ".git").write_text(f"gitdir: {tree}\n")
        git = main
    annexed(records[0].path, root, git)
    found = scan_path(str(root))
    assert uids(found) == set(exam.instances)
    assert not found.unreadable
    assert not any("leads out" in note for note in found.notes)


@needs_links
def test_an_annex_of_another_repository_is_out_of_the_directory(exam: Any, tmp_path: Path) -> None:
    records = list(exam.instances.values())
    (exam.directory / ".git").mkdir()
    (tmp_path / "other" / ".git").mkdir(parents=True)
    annexed(records[0].path, tmp_path / "other", tmp_path / "other" / ".git")
    found = scan_path(str(exam.directory))
    assert uids(found) == set(exam.instances) - {records[0].sop_instance_uid}
    assert any("1 symbolic link leads out of the directory" in note for note in found.notes)
    assert uids(scan_path(str(exam.directory), follow_symlinks=True)) == set(exam.instances)


@needs_links
def test_a_link_into_version_control_is_not_followed(exam: Any) -> None:
    inside = exam.directory / ".git" / "lfs"
    inside.mkdir(parents=True)
    next(iter(exam.instances.values())).path.rename(inside / "I1")
    (exam.directory / "link").symlink_to(".git/lfs")
    found = scan_path(str(exam.directory))
    assert len(found.items) == len(exam.instances) - 1
    assert reasons(found)["link"] == "a folder of version control, which is not entered"


@needs_links
def test_links_that_cannot_be_resolved(exam: Any) -> None:
    (exam.directory / "loop").symlink_to("loop")
    (exam.directory / "through a file").symlink_to("loop/x")
    found = scan_path(str(exam.directory))
    assert reasons(found) == dict.fromkeys(("loop", "through a file"), "symbolic link to nothing")
    assert any(note.startswith("2 symbolic links lead to nothing") for note in found.notes)


@pytest.mark.skipif(shutil.which("git-annex") is None, reason="git-annex is not installed")
def test_a_real_annex(exam: Any) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=exam.directory, check=True, capture_output=True)

    git("init", "-q")
    git("annex", "init", "here")
    git("annex", "add", ".")
    assert uids(scan_path(str(exam.directory))) == set(exam.instances)
    git("annex", "drop", "--force", ".")
    found = scan_path(str(exam.directory))
    assert len(found.unreadable) == len(exam.instances)
