"""How each tool is told to send a work-load. The public ones are black boxes in environments of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measure import Sink
from workloads import Load

Pipeline = Sequence[Sequence[str]]
OURS = "ours"
#: The uploader that bears the same name on the package index: another project, run, never read.
_PEER = "xnatctl[dicom]==0.6.0"
_IMPORT = (
    "/data/services/import?import-handler=DICOM-zip&PROJECT_ID=BENCH&SUBJECT_ID=S1&EXPT_LABEL=SESS"
    "&inbody=true&rename=true&Direct-Archive=true"
)
_XNATPY = """
import sys, xnat
server, path = sys.argv[1:]
names = dict(project="BENCH", subject="S1", experiment="SESS", destination="/prearchive", import_handler="DICOM-zip")
with xnat.connect(server, user="bench", password="bench", no_parse_model=True, loglevel="ERROR") as site:
    site.services.import_dir(path, **names)
"""


@dataclass(frozen=True)
class Tool:
    """A tool with its settings. `command` makes the processes; `dicom` = it sends to a DICOM receiver."""

    name: str
    command: Callable[[Load, Sink, Path], Pipeline]
    environment: Mapping[str, str] = field(default_factory=dict)


def program() -> str:
    """Our command in the environment that runs the benchmark."""
    return str(Path(sys.executable).parent / "xnatctl")


def _credentials(sink: Sink) -> list[str]:
    return ["--url", sink.url, "-P", "BENCH", "-S", "S1", "-E", "SESS"]


def ours(name: str, *options: str, without: Sequence[str] = ()) -> Tool:
    """`session upload`, which also logs in, settles and verifies. `without` hides modules from it."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({list(without)!r})); "
    start = [program()] if not without else [sys.executable, "-c", f"{hidden}from xnatctl.cli.main import main; main()"]
    return Tool(
        name, lambda load, sink, _: [[*start, "session", "upload", load.path, "-q", *options, *_credentials(sink)]]
    )


def ours_dicom(name: str, *options: str) -> Tool:
    """Our C-STORE."""
    return Tool(
        name,
        lambda load, sink, _: [
            [program(), "session", "upload-dicom", load.path, "-q", "--host", "127.0.0.1", "--port", str(sink.port),
             "--called-aet", "BENCH", *options]
        ],
    )  # fmt: skip


def peer(name: str, python: Path, *options: str) -> Tool:
    """The existing uploader."""
    command = str(python.parent / "xnatctl")

    def pipeline(load: Load, sink: Sink, scratch: Path) -> Pipeline:
        where = ["-P", "BENCH", "-S", "S1", "-E", "SESS"]
        return [[command, "session", "upload", load.path, "-q", *options, *where]]

    return Tool(name, pipeline)


def peer_dicom(name: str, python: Path, *options: str) -> Tool:
    """The existing uploader's C-STORE; it logs in to an XNAT first."""
    command = str(python.parent / "xnatctl")

    def pipeline(load: Load, sink: Sink, scratch: Path) -> Pipeline:
        where = ["--host", "127.0.0.1", "--port", str(sink.port), "--called-aet", "BENCH"]
        return [[command, "session", "upload-dicom", load.path, "-q", *where, *options]]

    return Tool(name, pipeline)


def curl() -> Tool:
    """One request with a tar that was made before the clock starts: as fast as a body can go."""

    def pipeline(load: Load, sink: Sink, scratch: Path) -> Pipeline:
        ready = Path(f"{load.path}.tar")
        if not ready.exists():
            subprocess.run(["tar", "cf", str(ready), "-C", load.path, "."], check=True)
        return [["curl", "-sSf", "-X", "POST", "-T", str(ready), *_CURL, sink.url + _IMPORT]]

    return Tool("curl, ready-made tar", pipeline)


def tar_curl() -> Tool:
    """What a shell does. Chunked, which a real XNAT refuses for tar."""

    def pipeline(load: Load, sink: Sink, scratch: Path) -> Pipeline:
        post = ["curl", "-sSf", "-X", "POST", "-T", "-", *_CURL, sink.url + _IMPORT]
        return [["tar", "cf", "-", "-C", load.path, "."], post]

    return Tool("tar | curl", pipeline)


_CURL = ("-H", "Expect:", "-H", "Content-Type: application/x-tar")


def xnatpy(python: Path) -> Tool:
    """xnatpy's import of a directory, which it packs first."""
    return Tool("xnatpy import_dir", lambda load, sink, _: [[str(python), "-c", _XNATPY, sink.url, load.path]])


def dcmsend(*, nodelay: bool) -> Tool:
    """DCMTK, without Nagle's algorithm or as shipped."""
    name = "dcmsend, TCP_NODELAY=1" if nodelay else "dcmsend as shipped"
    return Tool(
        name,
        lambda load, sink, _: [
            ["dcmsend", "+sd", "+r", "--no-halt", "-aec", "BENCH", "127.0.0.1", str(sink.port), load.path]
        ],
        {"TCP_NODELAY": "1"} if nodelay else {},
    )


def _dcmtk(name: str) -> str:
    """pynetdicom puts programs of the same name beside the interpreter, which may come first in PATH."""
    own = {Path(sys.prefix, "bin"), Path(sys.executable).parent}
    places = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(place) not in own]
    return shutil.which(name, path=os.pathsep.join(places)) or name


def storescu() -> Tool:
    """DCMTK's other sender."""
    return Tool(
        "storescu, TCP_NODELAY=1",
        lambda load, sink, _: [
            [_dcmtk("storescu"), "+sd", "+r", "-aec", "BENCH", "127.0.0.1", str(sink.port), load.path]
        ],
        {"TCP_NODELAY": "1"},
    )


def environment(directory: Path, name: str, requirement: str) -> Path | None:
    """The interpreter of an environment with one package; None when it cannot be made."""
    home = directory / f"env-{name}"
    python = home / "bin" / "python"
    if (home / "ready").exists():
        return python
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, with_pip=True, symlinks=True)
    done = subprocess.run([str(python), "-m", "pip", "install", "-q", requirement], capture_output=True, check=False)
    if done.returncode:
        print(f"(no {name}: {done.stderr.decode().strip().splitlines()[-1:]})")
        return None
    (home / "ready").touch()
    return python


def peer_environment(directory: Path) -> Path | None:
    return environment(directory, "peer", _PEER)


def xnatpy_environment(directory: Path) -> Path | None:
    return environment(directory, "xnatpy", "xnat")


def surroundings(scratch: Path, sink: Sink) -> dict[str, str]:
    """The environment of a run: nothing of this user's, a fresh home and journal."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {
        **kept,
        "HOME": str(scratch),
        "XNATCTL_STATE_DIR": str(scratch / "state"),
        "XNAT_URL": sink.url,
        "XNAT_USER": "bench",
        "XNAT_PASS": "bench",
        "NO_PROXY": "127.0.0.1",
    }
