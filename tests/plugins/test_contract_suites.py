"""Our plugins pass the suites that we publish for everybody's."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from systems import write_secret

from xnatctl.api import CredentialRequest, Password
from xnatctl.testing import CredentialSourceContract, FormatterContract, ResourceTransportContract, TransportContract
from xnatctl_credentials.environment import Environment
from xnatctl_credentials.helper import Helper
from xnatctl_credentials.netrc import Netrc
from xnatctl_credentials.profile import Profile
from xnatctl_credentials.tokens import SessionTokens
from xnatctl_gradual.transport import GradualTransport
from xnatctl_output.separated import Csv, Tsv
from xnatctl_output.structured import Json, Ndjson, Yaml
from xnatctl_output.table import Table
from xnatctl_resource.transport import ResourceTransport
from xnatctl_zip.transport import TarTransport, ZipTransport


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    for name in ("XNAT_USER", "XNAT_PASS", "XNAT_TOKEN", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XNATCTL_STATE_DIR", str(tmp_path / "state"))


class TestTar(TransportContract):
    options = {"compress": "never"}

    def make(self, context):
        return TarTransport(context)


class TestTarCompressed(TestTar):
    options = {"compress": "always"}


class TestZip(TransportContract):
    options = {"compress": "auto"}

    def make(self, context):
        return ZipTransport(context)


class TestGradual(TransportContract):
    def make(self, context):
        return GradualTransport(context)


class TestTheExampleOfTheDocumentation(TransportContract):
    options = {"level": 1}

    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch):
        monkeypatch.syspath_prepend(Path(__file__).parents[2] / "docs" / "examples" / "xnatctl-series")
        yield
        for name in [name for name in sys.modules if name.startswith("xnatctl_series")]:
            monkeypatch.delitem(sys.modules, name)

    def make(self, context):
        from xnatctl_series.transport import SeriesTransport

        return SeriesTransport(context)


class TestResource(ResourceTransportContract):
    def make(self, context):
        return ResourceTransport(context)


class TestEnvironment(CredentialSourceContract):
    expected = Password(username="alice", secret="of the environment")

    @pytest.fixture(autouse=True)
    def variables(self, isolated, monkeypatch):
        monkeypatch.setenv("XNAT_USER", "alice")
        monkeypatch.setenv("XNAT_PASS", "of the environment")

    def asked(self, **changes):
        """The variables belong to the server that they were given for; core says whether this is the one."""
        request = super().asked(**changes)
        return replace(request, environment=request.server == self.request.server)

    def make(self):
        return Environment()


class TestTokens(CredentialSourceContract):
    def make(self):
        return SessionTokens()


class TestProfile(CredentialSourceContract):
    request = CredentialRequest(
        server="https://xnat.invalid",
        username="alice",
        profile_name="p",
        profile={"username": "alice", "password": "of the profile"},
    )
    expected = Password(username="alice", secret="of the profile")

    def make(self):
        return Profile()


class TestNetrc(CredentialSourceContract):
    request = CredentialRequest(server="https://xnat.example.org", username="alice")
    expected = Password(username="alice", secret="of-netrc")

    @pytest.fixture(autouse=True)
    def file(self, isolated, monkeypatch, tmp_path):
        path = tmp_path / "netrc"
        write_secret(path, "machine xnat.example.org login alice password of-netrc\n")
        monkeypatch.setenv("NETRC", str(path))

    def make(self):
        return Netrc()


HELP = """print('{"username": "alice", "password": "of-helper"}')"""


class TestHelper(CredentialSourceContract):
    request = CredentialRequest(
        server="https://xnat.example.org",
        username="alice",
        profile_name="p",
        profile={"credential_helper": [sys.executable, "-c", HELP]},
    )
    expected = Password(username="alice", secret="of-helper")

    def make(self):
        return Helper()


class TestTable(FormatterContract):
    def make(self):
        return Table()


class TestJson(FormatterContract):
    def make(self):
        return Json()


class TestNdjson(FormatterContract):
    def make(self):
        return Ndjson()


class TestCsv(FormatterContract):
    def make(self):
        return Csv()


class TestTsv(FormatterContract):
    def make(self):
        return Tsv()


class TestYaml(FormatterContract):
    def make(self):
        return Yaml()
