"""Programs of the system that tests talk to."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


def system_program(name: str) -> str | None:
    """Where the system keeps a program; None when it is not installed.

    pynetdicom puts programs called storescp, storescu and echoscu beside the interpreter, and an environment's own folder
    comes first in PATH: DCMTK's are meant.
    """
    own = {Path(sys.prefix, "bin"), Path(sys.executable).parent}
    places = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(place) not in own]
    return shutil.which(name, path=os.pathsep.join([*places, "/usr/sbin", "/usr/local/sbin"]))


def required_program(name: str) -> str:
    """The same; Windows may lack it, and its test is skipped there."""
    found = shutil.which(name)
    if found is None and sys.platform == "win32":
        pytest.skip(f"{name} is not installed")
    assert found, f"{name} is not installed"
    return found
