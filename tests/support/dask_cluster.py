"""A Dask cluster on loopback: a scheduler and workers, each a process of its own, as a site starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

SUPPORT = os.fspath(Path(__file__).parent)


class DaskCluster:
    """A scheduler, and workers that are started one by one. Ends them all when it is closed."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = {
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, (SUPPORT, environment.get("PYTHONPATH")))),
        }
        self.file = directory / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("dask_scheduler", "--port", "0")
        while not self._address():
            assert self.scheduler.poll() is None, "the scheduler ended"
            time.sleep(0.05)
        self.address = self._address()

    def _address(self) -> str:
        try:
            return json.loads(self.file.read_text())["address"]
        except (OSError, ValueError):
            return ""

    def _start(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen:
        with open(self._directory / f"{module}-{len(self._processes)}.log", "wb") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", f"distributed.cli.{module}"),
                    *("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(self.file), *arguments),
                ],
                env={**self._environment, **(environment or {})},
                stdout=log,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def worker(self, threads: int = 1, environment: Mapping[str, str] | None = None) -> subprocess.Popen:
        """Start a worker; it registers a second later."""
        return self._start(
            "dask_worker",
            *("--nthreads", str(threads), "--no-nanny", "--local-directory", str(self._directory)),
            environment=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
