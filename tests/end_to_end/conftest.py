"""The real command line, in a process of its own, against the sandbox."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kept import assert_kept

pytest.importorskip("werkzeug", reason="the sandbox extra is not installed")

from xnatctl.testing.exam import EXPLICIT, IMPLICIT, write_exam
from xnatctl_sandbox.server import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "xnat") as server:
        yield server


@pytest.fixture
def alice(sandbox: Sandbox) -> dict[str, str]:
    """The variables of a user who may write to DEMO."""
    return {"XNAT_URL": sandbox.url, "XNAT_USER": "alice", "XNAT_PASS": "alice"}


@pytest.fixture
def elsewhere(alice: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same user on another machine, where no journal remembers what was sent."""
    return {**alice, "XDG_STATE_HOME": str(tmp_path / "elsewhere")}


def _traces(exam: Any) -> list[tuple[str, int, int]]:
    return [(str(path), path.lstat().st_mtime_ns, path.lstat().st_mode) for path in sorted(exam.directory.rglob("*"))]


def _shared(exam: Any) -> Iterator[Any]:
    before = _traces(exam)
    yield exam
    assert _traces(exam) == before, "an exam that other tests use was changed: take `own_exam`"


@pytest.fixture(scope="session")
def _exam(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_exam(tmp_path_factory.mktemp("exam") / "exam", series=3, instances=20, seed=7)


@pytest.fixture(scope="session")
def _large_exam(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_exam(tmp_path_factory.mktemp("exam") / "exam", series=3, instances=100, seed=7)


@pytest.fixture
def exam(_exam: Any) -> Iterator[Any]:
    """Three series of 20, every naming style, with clutter, for reading. `.instances`: SOP UID -> what was written."""
    yield from _shared(_exam)


@pytest.fixture
def large_exam(_large_exam: Any) -> Iterator[Any]:
    """Three series, 300 instances, for reading."""
    yield from _shared(_large_exam)


@pytest.fixture
def own_exam(tmp_path: Path) -> Any:
    """Like `exam`, to do with it what you like."""
    return write_exam(tmp_path / "exam", series=3, instances=20, seed=7)


@pytest.fixture
def device_exam(tmp_path: Path) -> Any:
    """Two series with headers as devices write them: XNAT stores another size. Explicit and implicit take turns."""
    return write_exam(
        tmp_path / "device", series=2, instances=10, seed=8, transfer_syntaxes=(EXPLICIT, IMPLICIT), device_headers=True
    )


@pytest.fixture
def stored() -> Callable[[Sandbox], dict[str, list[dict[str, Any]]]]:
    """What the server holds, by SOP Instance UID, every copy listed."""

    def look(server: Sandbox) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for instance in server.instances():
            found.setdefault(instance["sop_instance_uid"], []).append(instance)
        return found

    return look


@pytest.fixture
def assert_exactly(
    stored: Callable[[Sandbox], dict[str, list[dict[str, Any]]]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., None]:
    """The store holds exactly these instances: whole, once, catalogued, in one session at one place.

    `expected` maps each SOP Instance UID to the SHA-256 of the file that was sent. The server may have written the head
    of a file anew: the file of this SHA-256 is looked for among the test's own then, and data set and tail are compared.
    """

    def check(server: Sandbox, expected: Mapping[str, str], *, place: str, label: str, project: str = "DEMO") -> None:
        sent: dict[str, Path] = {}
        found = stored(server)
        assert set(found) == set(expected)
        for uid, copies in found.items():
            assert len(copies) == 1, f"{uid} is stored {len(copies)} times"
            (copy,) = copies
            if copy["sha256"] != expected[uid]:
                sent = sent or _by_digest(tmp_path_factory.getbasetemp(), server.directory)
                assert expected[uid] in sent, f"{uid}: the stored file is another one, and no file is the one expected"
                assert_kept(copy["path"], sent[expected[uid]])
            assert copy["place"] == place
            assert (copy["project"], copy["session"]) == (project, label)
            assert copy["catalogued"]

    return check


def _by_digest(root: Path, server: Path) -> dict[str, Path]:
    """The files of this run by SHA-256, but for those that the server stored."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    ours = [path for path in files if server not in path.parents and path.stat().st_size < 1 << 20]
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in ours}


@pytest.fixture
def digest() -> Callable[[Path], str]:
    return lambda path: hashlib.sha256(path.read_bytes()).hexdigest()


def _exam_roots() -> Any:
    """The module beside this one; test folders are no packages."""
    name = "xnatctl_tests_exam_roots"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("exam_roots.py"))
        assert spec
        assert spec.loader
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def make_root() -> Callable[..., Any]:
    """Writes an exam root, see `exam_roots.write_root`."""
    return _exam_roots().write_root


@pytest.fixture
def root(tmp_path: Path, make_root: Callable[..., Any]) -> Any:
    """Two series, two folders, a file at the top. `.digests` of instances, `.files` by resource."""
    return make_root(tmp_path / "exam")


@pytest.fixture
def attached() -> Callable[..., dict[str, dict[str, str]]]:
    """What the server's disk holds in the resources of a session: label -> name -> SHA-256."""
    return _exam_roots().resources_on_disk


@pytest.fixture
def exam_writes() -> Callable[[Any], list[str]]:
    """The requests that carried a file."""
    return _exam_roots().writes
