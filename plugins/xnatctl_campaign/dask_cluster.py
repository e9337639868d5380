"""The connection to a Dask cluster: the scheduler, the versions on its workers, and the tasks that they are given."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xnatctl.api import ConnectionFailed, UsageError

#: Seconds for a connection, and for its end.
_CONNECT, _CLOSE = 30.0, 0.5
#: Workers of another version that a message names.
_SHOWN = 3


class Cluster:
    """A Dask cluster. `name` is that of the plugin which delivers rows there.

    Raises UsageError for what is no address, ConnectionFailed when the scheduler does not answer.
    """

    def __init__(self, scheduler: str, name: str) -> None:
        self.scheduler = scheduler
        self.name = name
        self._client = _connect(scheduler)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(Exception):  # nothing that it reports here changes what was delivered
            self._client.close(timeout=_CLOSE)

    def install(self, plugin: Any) -> None:
        """Install a plugin on all workers, also on those that come later.

        Raises UsageError unless the scheduler and all workers have the xnatctl of this process.
        """
        self._require_same_version()
        self._client.register_plugin(plugin, name=self.name)

    def uninstall(self) -> threading.Thread:
        """Begin to remove the plugin, which ends what it does. The thread waits for every worker to answer."""

        def remove() -> None:
            with suppress(Exception):  # the scheduler may be gone
                self._client.unregister_worker_plugin(self.name)

        thread = threading.Thread(target=remove, name="dask-uninstall", daemon=True)
        thread.start()
        return thread

    def threads(self) -> dict[str, int]:
        """The workers by address, with the number of their threads. Raises ConnectionFailed."""
        try:
            if self._client.status == "running":
                return dict(self._client.nthreads())
        except Exception as error:  # whatever the transport of the scheduler raises
            raise self.lost() from error
        raise self.lost()

    def lost(self) -> ConnectionFailed:
        """The error for a scheduler that is gone."""
        return ConnectionFailed(
            f"The connection to the Dask scheduler {self.scheduler} was lost.",
            hint="Run the same command again: rows that its workers still deliver are waited for, and proven rows are "
            "not sent again.",
        )

    def submit(self, function: Callable[..., Any], *arguments: Any, key: str, worker: str) -> Any:
        """Start a task on one worker; returns its future."""
        return self._client.submit(
            function, *arguments, key=key, workers=[worker], allow_other_workers=False, pure=False, retries=0
        )

    def cancel(self, futures: list[Any]) -> None:
        """Forget tasks of workers that are gone."""
        with suppress(Exception):
            self._client.cancel(futures, force=True)

    def _require_same_version(self) -> None:
        versions = self._client.get_versions(packages=["xnatctl"])
        ours = versions["client"]["packages"]["xnatctl"]
        places = {"the scheduler": versions["scheduler"], **versions["workers"]}
        others = {place: found for place, each in places.items() if (found := each["packages"]["xnatctl"]) != ours}
        if others:
            listed = ", ".join(f"{place}: {found or 'none'}" for place, found in sorted(others.items())[:_SHOWN])
            more = f", and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else ""
            raise UsageError(
                f"This is xnatctl {ours}, and other versions are on the Dask cluster ({listed}{more}).",
                hint="Start the scheduler and the workers in an environment with the same xnatctl.",
            )


def _connect(scheduler: str) -> Any:
    """A client of a scheduler: `HOST:PORT`, `tls://HOST:PORT`, or the path of a scheduler file."""
    from distributed import Client

    _silence()
    target = {"address": scheduler}
    if scheduler.endswith(".json"):
        if not Path(scheduler).is_file():
            raise UsageError(
                f"There is no scheduler file {scheduler}.",
                hint="dask scheduler --scheduler-file FILE writes it.",
            )
        target = {"scheduler_file": scheduler}
    try:
        return Client(**target, timeout=_CONNECT, set_as_default=False)
    except OSError as error:
        raise ConnectionFailed(
            f"Cannot connect to the Dask scheduler {scheduler}: {error}.",
            hint="Check the address, and that `dask scheduler` runs there.",
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{scheduler} is not the address of a Dask scheduler: {error}.", hint="Such as tcp://HOST:8786."
        ) from error
    except Exception as error:  # whatever its protocol makes of an answer that is none
        raise ConnectionFailed(
            f"What answers at {scheduler} is not a Dask scheduler of a version that fits ({type(error).__name__}).",
            hint="Use the same version of distributed here and there.",
        ) from error


def _silence() -> None:
    """Print nothing that Dask logs in this process: it is for authors of Dask programs."""
    from distributed.versions import VersionMismatchWarning

    warnings.simplefilter("ignore", VersionMismatchWarning)
    for name in ["distributed", "tornado", *logging.Logger.manager.loggerDict]:
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
