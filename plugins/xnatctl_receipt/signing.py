"""Signatures of receipts, by `ssh-keygen -Y` with the namespace `xnatctl-receipt` (OpenSSH 8.1 or later)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from xnatctl.api import UsageError, VerificationFailed

NAMESPACE: Final = "xnatctl-receipt"
_PROGRAM: Final = "ssh-keygen"


def sign(data: bytes, key: str) -> bytes:
    """The signature of data by a key: a private key, or a public one whose private key is in the SSH agent.

    Raises UsageError if there is no program, no such key, or one that cannot sign.
    """
    if not Path(key).is_file():
        raise UsageError(
            f"There is no SSH key {key}.",
            hint="--receipt-sign takes a private key such as ~/.ssh/id_ed25519, or the .pub file of one in the agent.",
        )
    done = _run("-Y", "sign", "-q", "-f", key, "-n", NAMESPACE, data=data)
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise UsageError(f"The SSH key {key} cannot sign: {_said(done)}.")
    return done.stdout


def check_signature(data: bytes, signature: Path, signers: str, identity: str | None) -> str:
    """Who signed data, by a file of allowed signers. Raises VerificationFailed for a signature that is not valid.

    Without an identity, it is looked up in the file by the key of the signature.
    """
    if identity is None:
        found = _run("-Y", "find-principals", "-s", str(signature), "-f", signers)
        names = found.stdout.decode("utf-8", "replace").splitlines()
        if found.returncode or not names:
            raise VerificationFailed(f"The key of {signature} is not that of an allowed signer in {signers}.")
        identity = names[0].strip()
    arguments = ("-f", signers, "-I", identity, "-n", NAMESPACE, "-s", str(signature))
    done = _run("-Y", "verify", *arguments, data=data)
    if done.returncode:
        raise VerificationFailed(f"The signature {signature} is not one of {identity} for this receipt: {_said(done)}.")
    return identity


def _run(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which(_PROGRAM)
    if program is None:
        raise UsageError(
            f"{_PROGRAM} is not installed. It signs receipts and checks their signatures.",
            hint="Install OpenSSH 8.1 or later (Debian: apt install openssh-client).",
        )
    return subprocess.run([program, *arguments], input=data, capture_output=True, check=False)


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What the program printed, on one line."""
    text = (done.stderr or done.stdout).decode("utf-8", "replace")
    return (
        "; ".join(line.strip().rstrip(".") for line in text.splitlines() if line.strip()) or f"exit {done.returncode}"
    )
