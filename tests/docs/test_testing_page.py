"""The examples of the page about the test kit pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_examples_of_the_page_pass(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "reference" / "testing.md").read_text()
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)):
        (tmp_path / f"test_{number}.py").write_text(block)
    examples = [ROOT / "docs" / "examples" / name for name in ("xnatctl-series", "xnatctl-inbox")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, examples))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xnatctl.testing"]
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", "."],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
