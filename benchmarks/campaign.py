"""What a campaign costs: `python benchmarks/campaign.py [--rows 200,2000] [--sessions 4] [--data DIR]`.

Writes studies of 20 small instances, freezes them into a campaign, and runs it twice against a sandbox of its own. The
CPU time is that of the run and all of its workers, without the sandbox; the memory is the peak of the run and that of
its largest worker. Goals: at most 0.15 s of CPU a session, memory flat in the number of rows, and at most 0.05 s a
session for a second run that finds nothing to do.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xnatctl.api import Destination, UploadPlan, UploadRequest
from xnatctl.api.commands import plan_session_upload, scan_path
from xnatctl.testing.exam import write_exam
from xnatctl_campaign.folder import CampaignInfo, now, write_campaign
from xnatctl_campaign.row import Row

#: The server of the benchmark: prints its URL, and serves until it is terminated.
_SANDBOX = """
import sys, time
from xnatctl_sandbox.server import Sandbox
with Sandbox(sys.argv[1]) as sandbox:
    print(sandbox.url, flush=True)
    while True:
        time.sleep(1)
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock and CPU, and peaks of memory in MiB."""

    wall: float
    cpu: float
    run_memory: float
    worker_memory: float


@contextmanager
def sandbox(directory: Path) -> Iterator[str]:
    """A sandbox in a process of its own; yields its URL."""
    with subprocess.Popen(
        [sys.executable, "-c", _SANDBOX, str(directory)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def freeze(directory: Path, exams: Path, count: int, instances: int, server: str) -> None:
    """Write the studies that are missing, and freeze a row for each."""

    def rows() -> Iterator[tuple[Row, UploadPlan]]:
        for number in range(1, count + 1):
            path = exams / str(number)
            if not path.exists():
                write_exam(path, series=1, instances=instances, seed=number, clutter=False, patient_id=f"P{number}")
            request = UploadRequest(
                command="session upload",
                path=str(path),
                destination=Destination(server="", project="DEMO", subject=f"S{number}", session=f"E{number}"),
                transport="tar",
                workers=2,
            )
            row = Row(
                number=number, line=number + 1, path=str(path), project="DEMO", subject=f"S{number}",
                session=f"E{number}",
            )  # fmt: skip
            yield row, plan_session_upload(request, scan_path(path))

    info = CampaignInfo(
        server=server, manifest="", manifest_sha256="", rows=0, excluded=0, created=now(), version="0"
    )  # fmt: skip
    write_campaign(directory, info, rows(), [])


def measure(arguments: list[str], environment: dict[str, str]) -> Cost:
    """Run a command to its end; its exit code must be 0."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "xnatctl", *arguments], env=environment)
    peaks: dict[int, float] = {}
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        for child in (process.pid, *_children(process.pid)):
            peaks[child] = max(peaks.get(child, 0.0), _peak(child))
        time.sleep(0.2)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with exit code {process.returncode}")
    workers = [peak for child, peak in peaks.items() if child != process.pid]
    return Cost(
        wall=time.monotonic() - begun,
        cpu=usage.ru_utime + usage.ru_stime,  # with the children that it has waited for
        run_memory=peaks.get(process.pid, 0.0),
        worker_memory=max(workers, default=0.0),
    )


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
            int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()
        ]
    except OSError:
        return []


def _peak(pid: int) -> float:
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="200,2000")
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    print(
        f"{'rows':>6} {'run':>7} {'wall':>8} {'s/row':>7} {'CPU':>8} {'CPU/row':>8} {'run MiB':>8} {'worker MiB':>11}"
    )
    with tempfile.TemporaryDirectory(prefix="bench-campaign-") as scratch:
        exams = given.data or Path(scratch, "exams")
        for count in map(int, given.rows.split(",")):
            place = Path(scratch, str(count))
            place.mkdir()
            with sandbox(place / "xnat") as url:
                freeze(place / "campaign", exams, count, given.instances, url)
                environment = {
                    **{key: value for key, value in os.environ.items() if not key.startswith(("XNAT", "XDG_"))},
                    "HOME": str(place), "XNAT_URL": url, "XNAT_USER": "alice", "XNAT_PASS": "alice",
                }  # fmt: skip
                command = ["campaign", "run", str(place / "campaign"), "--sessions", str(given.sessions), "-q"]
                for name in ("first", "second"):
                    cost = measure(command, environment)
                    print(
                        f"{count:6} {name:>7} {cost.wall:8.1f} {cost.wall / count:7.3f} {cost.cpu:8.1f} "
                        f"{cost.cpu / count:8.4f} {cost.run_memory:8.1f} {cost.worker_memory:11.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
