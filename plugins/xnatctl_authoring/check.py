"""Runs the contracts of the test kit on one plugin, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnatctl.api.system import own_group
from xnatctl_authoring.subject import Subject

#: What a process prints when it was left as it should be.
_LISTED = "XNATCTL-LISTED "


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result of one test: `provided` is what was tested, `message` names the mistake."""

    plugin: str
    provided: str
    test: str
    result: str  # passed, failed, skipped
    message: str = ""


def check_plugin(subject: Subject, limit: float) -> Iterator[Finding]:
    """Run every contract that applies, then the tests of the author; `limit` is the time of each process in seconds."""
    with tempfile.TemporaryDirectory(prefix="xnatctl-check-") as folder:
        child = _Child(subject, Path(folder), limit)
        provided, mistake = child.list_specs()
        yield Finding(
            plugin=subject.name,
            provided=f"plugin {subject.name}",
            test="it can be imported",
            result="failed" if mistake else "passed",
            message=mistake,
        )
        if mistake:
            return
        for title in provided:
            yield from child.run_contract(title)
        if subject.tests is not None:
            yield from child.run_tests(subject.tests)


class _Child:
    """Starts the processes for one plugin, with no settings of the user."""

    def __init__(self, subject: Subject, folder: Path, limit: float) -> None:
        self._subject, self._folder, self._limit = subject, folder, limit
        (folder / "home").mkdir()
        (folder / "config.yaml").touch()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("XNAT", "PYTEST_"))}
        path = [self._install(), *filter(None, [kept.get("PYTHONPATH")])]
        self._environment = {
            **kept,
            "HOME": str(folder / "home"),
            "XNATCTL_CONFIG": str(folder / "config.yaml"),
            "XNATCTL_STATE_DIR": str(folder / "state"),
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _install(self) -> str:
        """Declare a plugin that is not installed, as an installer would; returns the search path."""
        site = self._folder / "site"
        site.mkdir()
        if self._subject.source is None:
            return str(site)
        info = site / f"{self._subject.distribution.replace('-', '_')}-{self._subject.version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {self._subject.distribution}\nVersion: {self._subject.version}\n",
            encoding="utf-8",
        )
        (info / "entry_points.txt").write_text(
            f"[xnatctl]\n{self._subject.name} = {self._subject.target}\n", encoding="utf-8"
        )
        return os.pathsep.join([str(site), str(self._subject.source)])

    def list_specs(self) -> tuple[list[str], str]:
        """What the plugin provides, and the mistake that keeps it from being imported."""
        code = (
            "import importlib, json, sys\n"
            f"importlib.import_module({self._subject.target.partition(':')[0]!r})\n"
            "from xnatctl.testing.suite import contracts_of\n"
            f"titles = list(contracts_of({self._subject.name!r}, {self._subject.distribution!r}))\n"
            f"sys.stdout.write({_LISTED!r} + json.dumps(titles) + '\\n')\n"
        )
        code_of, output, errors = self._run([sys.executable, "-c", code])
        lines = output.splitlines()
        listed = [line for line in lines if line.startswith(_LISTED)]
        if code_of is None:
            return [], f"importing it takes longer than {self._limit:g} s; look for a loop, or for waiting, at import"
        if not listed:
            said = errors.strip().splitlines() or [f"the process ended with exit code {code_of}"]
            return [], said[-1] if code_of else f"it ends the process at import, with exit code {code_of}"
        if printed := [line for line in lines if line not in listed]:
            return [], f"it writes to standard output at import or at exit: {printed[0]!r}; use stderr or a log"
        titles: list[str] = json.loads(listed[0].removeprefix(_LISTED))
        return titles, "" if code_of == 0 else f"the process ended with exit code {code_of} after the import"

    def run_contract(self, title: str) -> Iterator[Finding]:
        """The tests of one contract."""
        module = self._folder / "test_contract.py"
        module.write_text(
            "from xnatctl.testing.suite import contracts_of\n"
            f"TestContract = contracts_of({self._subject.name!r}, {self._subject.distribution!r})[{title!r}]\n",
            encoding="utf-8",
        )
        yield from self._run_pytest(title, module)

    def run_tests(self, tests: Path) -> Iterator[Finding]:
        """The tests of the author, which give the contracts their examples."""
        yield from self._run_pytest(f"tests of {self._subject.distribution}", tests)

    def _run_pytest(self, title: str, tests: Path) -> Iterator[Finding]:
        from xnatctl_authoring.recorder import OPTION  # needs pytest, which `plugins new` does without

        record = self._folder / "record"
        record.write_text("", encoding="utf-8")
        options = ["-q", "-c", os.devnull, "--rootdir", str(self._folder), "-p", "no:cacheprovider"]
        plugins = ["-p", "xnatctl_authoring.recorder"]
        code, _, errors = self._run(
            [sys.executable, "-m", "pytest", *options, *plugins, f"{OPTION}={record}", str(tests)]
        )
        entries = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
        yield from self._findings(title, entries, code, errors)

    def _findings(self, title: str, entries: list[dict[str, Any]], code: int | None, errors: str) -> Iterator[Finding]:
        def found(test: str, result: str, message: str = "") -> Finding:
            words = test.removeprefix("test_").replace("_", " ")
            return Finding(plugin=self._subject.name, provided=title, test=words, result=result, message=message)

        begun = ""
        for entry in entries:
            if entry["kind"] == "begin":
                begun = entry["test"]
            elif entry["kind"] == "end":
                begun = ""
                yield found(entry["test"], entry["outcome"], entry["message"])
        if code is None:
            yield found(begun or "it ends", "failed", f"it did not end within {self._limit:g} s and was stopped")
        elif not any(entry["kind"] == "done" for entry in entries):
            said = (
                f"it ended the process, with exit code {code}" if begun else (errors.strip().splitlines() or [""])[-1]
            )
            yield found(begun or "it can be tested", "failed", said)

    def _run(self, command: list[str]) -> tuple[int | None, str, str]:
        """Exit code, None when the time is up, and both outputs."""
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            cwd=self._folder,
            text=True,
            encoding="utf-8",
            errors="replace",
            **own_group(),
        )
        try:
            out, err = process.communicate(timeout=max(1.0, self._limit - (time.monotonic() - started)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, "", ""
        return process.returncode, out, err
