"""Programs of the system that tests talk to."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def system_program(name: str) -> str | None:
    """Where the system keeps a program; None when it is not installed.

    pynetdicom puts programs called storescp, storescu and echoscu beside the interpreter, and an environment's own folder
    comes first in PATH: DCMTK's are meant.
    """
    own = {Path(sys.prefix, "bin"), Path(sys.executable).parent}
    places = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(place) not in own]
    return shutil.which(name, path=os.pathsep.join([*places, "/usr/sbin", "/usr/local/sbin"]))
