"""A distribution of somebody else gives logins from a vault over HTTP, by the public API alone, and renews them."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from xnatctl_sandbox.world.records import AliasToken

pytestmark = pytest.mark.once

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "xnatctl-vault"
UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e", "--workers", "4")
IMPORT = {"method": "POST", "path": "/services/import"}
ENTRY = "xnat/alice"


def vault_server():
    spec = importlib.util.spec_from_file_location("vault_server_of_the_example", EXAMPLE / "tests" / "vault_server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where pip put the example."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", target, EXAMPLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": str(target)}


@pytest.fixture
def vault():
    module = vault_server()
    with module.VaultServer() as server:
        server.token = module.TOKEN
        yield server


class Issuer:
    """Writes a new alias token of XNAT into the entry at each read, and ends all of them with the sessions."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.issued = []
        self._end_all = sandbox.accounts.end_all
        sandbox.accounts.end_all = self.end_all

    def __call__(self):
        number = len(self.issued)
        token = AliasToken(
            alias=f"canary-alias-{number}",
            secret=f"canary-secret-{number}",
            login="alice",
            created=self.sandbox.state.clock.now(),
        )
        self.issued.append(token)
        self.sandbox.state.tokens[token.alias] = token
        return {"alias": token.alias, "secret": token.secret}

    def end_all(self, login):
        self.sandbox.state.tokens.clear()
        self._end_all(login)


@pytest.fixture
def env(sandbox, vault, site, tmp_path):
    """A profile that names the vault; the token of the vault is in a file."""
    file, token = tmp_path / "c.yaml", tmp_path / "vault-token"
    token.write_text(vault.token)
    file.write_text(
        f"profiles:\n  a:\n    url: {sandbox.url}\n    credentials:\n"
        f"      vault: {{address: '{vault.address}', path: {ENTRY}, token_file: '{token}'}}\n"
    )
    return {**site, "XNATCTL_CONFIG": str(file)}


@pytest.mark.lab
def test_its_own_tests_pass(site):
    """On the contracts of `xnatctl.testing`, as its author runs them."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", EXAMPLE, EXAMPLE]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_imports_the_public_api_alone():
    for path in EXAMPLE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            foreign = [name for name in modules if name.split(".")[0] == "xnatctl"]
            allowed = ("xnatctl.api", "xnatctl.testing") if "tests" in path.parts[-2:] else ("xnatctl.api",)
            assert all(name.startswith(allowed) for name in foreign), path


def environment_files(environment):
    """What xnatctl has written: journals and the like."""
    folders = {environment[name] for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME") if name in environment}
    return [path for folder in folders for path in Path(folder).rglob("*")]


def test_a_login_that_ends_in_the_middle_is_renewed_once(
    xnatctl, environment, sandbox, vault, env, large_exam, assert_exactly, tmp_path
):
    issuer = Issuer(sandbox)
    vault.entries[ENTRY] = issuer
    sandbox.faults.load([{"match": IMPORT, "nth": 3, "action": "expire-session", "login": "alice"}])
    command = ("session", "upload", large_exam.directory, *UPLOAD, "--mode", "gradual", "-o", "json", "-vv")
    done = xnatctl(*command, "--log-file", "log", env=env)
    assert done.code == 0, done.err
    assert done.document["counts"]["verified"] == len(large_exam.digests)
    assert_exactly(sandbox, large_exam.digests, place="archive", label="e")
    assert vault.reads == [ENTRY] * 2, "once for the login, and once for the renewal"
    assert list(sandbox.state.tokens) == ["canary-alias-1"]
    refused = [r for r in sandbox.requests if r["path"].endswith("JSESSION") and r["status"] == 401]
    assert len(refused) == 1, "the ended token was tried once, by one worker"
    assert sandbox.accounts.open_sessions("alice") == []
    written = [tmp_path / "log", *(path for path in environment_files(environment) if path.is_file())]
    assert "HTTP Request" in written[0].read_text()
    assert not [path for path in written if b"canary" in path.read_bytes()], "no secret is kept on this machine"
    assert "canary" not in done.out + done.err


@pytest.mark.parametrize(
    ("gone", "says"),
    [(False, "has no other one"), (True, "has no other one")],
    ids=["the same", "none"],
)
def test_a_vault_without_another_login_ends_the_upload_with_3(xnatctl, sandbox, vault, env, exam, gone, says):
    issuer = Issuer(sandbox)
    first = issuer()

    def read_once():
        if gone:
            del vault.entries[ENTRY]
        return first

    vault.entries[ENTRY] = read_once
    sandbox.faults.load([{"match": IMPORT, "nth": 3, "action": "expire-session", "login": "alice"}])
    command = ("session", "upload", exam.directory, *UPLOAD, "--mode", "gradual", "-o", "json")
    done = xnatctl(*command, env=env)
    assert done.code == 3, done.err
    assert f"does not accept the alias token of the vault, and the credential source vault {says}" in done.err
    assert vault.reads == [ENTRY] * 2
    assert done.document["error"]["code"] == "authentication"
    assert done.document["status"] == "partial"
    delivered = [item for item in done.document["items"] if item["outcome"] == "accepted"]
    assert len(delivered) == done.document["counts"]["sent"] < len(exam.digests)
    vault.entries[ENTRY] = issuer
    again = xnatctl(*command, env=env)
    assert again.code == 0, again.err
    assert again.document["counts"]["verified"] == len(exam.digests)


def test_a_wrong_key_of_its_section_is_an_error_and_secrets_are_masked(xnatctl, sandbox, env, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(file.read_text().replace("token_file", "token"))
    shown = xnatctl("config", "show", "-o", "json", env=env)
    values = {row["setting"]: row["value"] for row in shown.document["settings"]}
    assert values["credentials.vault.path"] == ENTRY
    assert values["credentials.vault.token"] == "(set, not shown)"
    options = xnatctl("plugins", "show", "vault", "-o", "json", env=env).document["options"]
    assert options[0] == "credentials.vault.address or VAULT_ADDR: The base URL of the vault."
    assert len(options) == 4
    file.write_text(file.read_text().replace("path:", "pth:"))
    done = xnatctl("auth", "status", env=env)
    assert done.code == 2
    assert "The credential source vault has no option pth (credentials.vault.pth in profile a)" in done.err
    assert "Did you mean path?" in done.err
    assert sandbox.requests == []
