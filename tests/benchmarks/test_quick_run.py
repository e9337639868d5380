"""The benchmark works: its quick run uploads, counts and draws its table. No figure is looked at."""

import importlib
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"


@pytest.mark.parametrize("options", [(), ("--python-sink",)], ids=["C", "Python"])
def test_the_quick_run_delivers_everything(tmp_path: Path, options: tuple[str, ...]) -> None:
    command = [sys.executable, str(RUN), "--quick", "--data", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.endswith("  all")]
    tools = {row.split("  ")[0] for row in rows}
    assert {"ours, tar", "ours, gradual"} <= tools
    if shutil.which("curl"):
        assert "curl, ready-made tar" in tools
    assert "NOT ALL" not in done.stdout


def test_the_phases_of_the_profile_are_functions_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(RUN.parent))
    phases = importlib.import_module("phases").PHASES
    for target in [target for targets in phases.values() for target in targets]:
        assert callable(pkgutil.resolve_name(target)), target
