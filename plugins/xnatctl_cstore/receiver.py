"""The connection parameters of a receiver, validated before the inventory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from xnatctl.api import Commands, UsageError

#: 1 to 16 printable ASCII characters, no backslash (PS3.5 6.2, VR AE; xnat-api 5.1).
_TITLE = re.compile(r"[ -\[\]-~]{1,16}\Z")
#: Our default AE title.
DEFAULT_CALLING = "XNATCTL"
_FILES = ("ca_cert", "client_cert", "client_key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """Encryption: paths of PEM files, None for the system's authorities and for no certificate of ours."""

    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Receiver:
    """The connection parameters of a DICOM receiver. `answer_timeout` is in seconds."""

    host: str
    port: int
    called: str
    calling: str
    answer_timeout: float
    tls: Tls | None = None
    commands: Commands = field(default=Commands(), compare=False, repr=False)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], commands: Commands | None = None) -> Receiver:
        """The receiver from the transport's options. Raises UsageError for invalid ones."""
        port, timeout = int(options["port"]), float(options["answer_timeout"])
        if not 1 <= port <= 65535:
            raise UsageError(f"--port must be between 1 and 65535, not {port}.")
        if not 0 < timeout <= 86400:
            raise UsageError(f"--answer-timeout must be between 0 and 86400 seconds, not {timeout:g}.")
        return cls(
            host=_host(str(options["host"] or "")),
            port=port,
            called=_title(str(options["called_aet"] or ""), "--called-aet"),
            calling=_title(str(options["calling_aet"] or ""), "--calling-aet"),
            answer_timeout=timeout,
            tls=_tls(options),
            commands=commands or Commands(),
        )

    @property
    def place(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """The address in reports and journals: `dicom://host:port/AET`, with TLS `dicoms://`.

        A calling AE title that is not the default follows as `?calling=`: a receiver may file by it.
        """
        scheme = "dicoms" if self.tls is not None else "dicom"
        calling = f"?calling={quote(self.calling, safe='')}" if self.calling != DEFAULT_CALLING else ""
        return f"{scheme}://{self.place.lower()}/{quote(self.called, safe='')}{calling}"

    def echo(self, **changed: Any) -> str:
        """The `--echo` command for this receiver, or with other parameters."""
        other = replace(self, **changed)
        words = ["--host", other.host, "--port", str(other.port), "--called-aet", other.called]
        if other.calling != DEFAULT_CALLING:
            words += ["--calling-aet", other.calling]
        if other.tls is not None:
            words.append("--tls")
            for name in _FILES:
                if (path := getattr(other.tls, name)) is not None:
                    words += [f"--{name.replace('_', '-')}", path]
        return self.commands.command("session", "upload-dicom", "--echo", *words, server=False)


def address_of(options: Mapping[str, Any]) -> str:
    """The address of the receiver that the options of the transport name. Raises UsageError."""
    return Receiver.from_options(options).address


def _host(text: str) -> str:
    host = text.strip()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or "/" in host or any(map(str.isspace, host)):
        raise UsageError(
            f"--host must be a name or an address, not {text!r}.",
            hint="For example --host xnat.example.org --port 8104.",
        )
    if host.count(":") == 1:
        raise UsageError(f"--host {host} holds a port.", hint=f"Use --host {host.replace(':', ' --port ')}.")
    return host


def _title(text: str, flag: str) -> str:
    """An AE title; spaces at its ends do not count (PS3.5 6.2)."""
    title = text.strip(" ")
    if not _TITLE.match(title):
        raise UsageError(
            f"{flag} must be an AE title: 1 to 16 printable ASCII characters, no backslash; not {text!r}.",
            hint="Ask the receiver's administrator for its AE title; an XNAT's is often XNAT.",
        )
    return title


def _tls(options: Mapping[str, Any]) -> Tls | None:
    files = {name: options.get(name) or None for name in _FILES}
    given = [name for name, path in files.items() if path is not None]
    if not options.get("tls"):
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} has no effect without --tls.", hint="Add --tls.")
        return None
    if files["client_key"] is not None and files["client_cert"] is None:
        raise UsageError("--client-key needs --client-cert.")
    for name in given:
        path = files[name]
        if path is not None and not os.path.isfile(path):
            raise UsageError(f"--{name.replace('_', '-')}: no such file: {path}")
    return Tls(**files)
