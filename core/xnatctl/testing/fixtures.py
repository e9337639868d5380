"""The fixtures of the test kit, for tests of plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xnatctl.plugin.discovery import Plugin
from xnatctl.plugin.hookspecs import PROJECT
from xnatctl.plugin.manager import PluginManager
from xnatctl.plugin.policy import Policy
from xnatctl.plugin.registry import Registry
from xnatctl.testing.exam import Exam, write_exam
from xnatctl.testing.receiver import Receiver


@pytest.fixture
def exams(tmp_path: Path) -> Callable[..., Exam]:
    """Writes real DICOM files: `exams(series=2, instances=10)`; see `write_exam`."""
    made: list[Exam] = []

    def write(**wanted: Any) -> Exam:
        made.append(write_exam(tmp_path / f"exam-{len(made) + 1}", **{"seed": len(made), **wanted}))
        return made[-1]

    return write


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Any]:
    """An XNAT-compatible server on this machine; user and password are alice. Needs the extra `testing`.

    `.url` is its address, `.faults.load([...])` makes it misbehave, `.instances()` is what its disk holds.
    """
    server = pytest.importorskip("xnatctl_sandbox.server", reason="install the extra: testing")
    with server.Sandbox(tmp_path / "xnat") as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A DICOM receiver (a Storage SCP) on this machine. Needs pynetdicom.

    `.host`, `.port` and `.ae_title` are its address; `.received` holds the data set of each instance by UID.
    """
    pytest.importorskip("pynetdicom", reason="install the extra: testing")
    with Receiver() as running:
        yield running


@pytest.fixture
def plugin_manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Registry]:
    """Registers modules of declarations, without installing anything: `plugin_manager(my_plugin)`.

    Returns the registry, with the plugins of xnatctl and these. No setting of the user counts.
    """
    (tmp_path / "config.yaml").touch()
    monkeypatch.setenv("XNATCTL_CONFIG", str(tmp_path / "config.yaml"))

    def register(*pages: Any) -> Registry:
        manager = PluginManager(Policy(external=False))
        for page in pages:
            name = str(page.__name__).rpartition(".")[2]
            plugin = Plugin(name=name, target=page.__name__, distribution=f"{PROJECT}-test", version="0", ours=False)
            manager.plugins.append(plugin)
            manager.load_one(plugin)
            if plugin.page is None:
                raise AssertionError(f"{plugin.target} cannot be used as a plugin: {plugin.reason}")
        manager.load(1)
        return Registry(manager)

    return register
