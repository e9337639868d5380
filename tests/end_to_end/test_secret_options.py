"""The value of a secret option of a plugin reaches the plugin, and nothing else."""

from __future__ import annotations

import json

import pytest

from xnatctl.operating_system.command_line import split_command

CANARY = "c4n4ry-0f/the=site"
PLUGIN = """
import base64, logging, pathlib, sys, urllib.parse, warnings
from xnatctl.api import *

@hookimpl
def xnatctl_transports():
    return [TransportSpec(
        name="site", summary="the site's store", target="dist_site_site:Site", settle="none",
        options=(
            Option(name="into", help="The folder.", required=True),
            Option(name="site_token", help="The token.", envvar="SITE_TOKEN", required=True, secret=True),
            Option(name="trouble", help="What fails.", default="nothing"),
        ),
    )]

@hookimpl
def xnatctl_checks():
    return [CheckSpec(name="site", summary="the store", target="dist_site_site:check")]

@hookimpl
def xnatctl_on_event(event):
    with open("observed", "a") as file:
        print(event.message, dict(event.data), file=file)

def check(app):
    found = app.settings.plugin_option(xnatctl_transports()[0].options[1])
    raise ValueError(f"the store refuses {found}")

class Site:
    def __init__(self, context):
        self.options = context.options
        self.context = context
    def describe(self):
        return {"into": self.options["into"], "token": self.options["site_token"]}
    def send(self, batch, emit):
        token, trouble = self.options["site_token"], self.options["trouble"]
        emit(Event(kind=EventKind.WARNING, message=f"sends with {token}", data={"token": token}))
        print("prints", token, urllib.parse.quote(token, safe=""))
        print(base64.b64encode(f"robot:{token}".encode()).decode(), file=sys.stderr)
        warnings.warn(f"warns of {token}")
        logging.getLogger("site").error("logs %s", token)
        if trouble == "raises":
            raise RuntimeError(f"refused: {token} of {self.options}")
        if trouble == "fails":
            for item in batch.items:
                yield ItemOutcome(
                    path=item.path, outcome=Outcome.FAILED, reason=f"{token} is not valid", uri=f"https://a/{token}")
            return
        for item in batch.items:
            with self.context.open_item(item) as reader:
                pathlib.Path(self.options["into"], item.name).write_bytes(reader.read())
            place = "https://a/" + urllib.parse.quote(token)
            yield ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, note=f"with {token}", uri=place)
        pathlib.Path(self.options["into"], "token.used").write_text(token)
    def close(self):
        pass
"""
#: The ways in: flags, variables, profile, standard input.
WAYS = {
    "flag": (("--site-token", CANARY), {}, {}, ""),
    "joined flag": ((f"--site-token={CANARY}",), {}, {}, ""),
    "standard input": (("--site-token", "-"), {}, {}, f"{CANARY}\n"),
    "variable": ((), {"SITE_TOKEN": CANARY}, {}, ""),
    "profile": ((), {}, {"site_token": CANARY}, ""),
}


@pytest.fixture
def configure(home):
    """Write a profile with these options."""
    file = home / "config" / "xnatctl" / "config.yaml"
    file.parent.mkdir(parents=True)

    def write(options):
        profile = {"url": "http://127.0.0.1:9", "options": {**options, "elsewhere": CANARY}}
        file.write_text(json.dumps({"default_profile": "p", "profiles": {"p": profile}}))
        file.chmod(0o600)
        return file

    return write


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def identifier(xnatctl, env):
    return xnatctl("upload", "status", "-q", env=env).out.split()[0]


@pytest.mark.once
@pytest.mark.parametrize("way", WAYS)
def test_nothing_that_is_printed_or_written_holds_it(xnatctl, install, exam, tmp_path, configure, inbox, way):
    flags, variables, options, stdin = WAYS[way]
    env = {**install("site", PLUGIN), **variables}
    config = configure(options)
    upload = ("session", "upload", exam.directory, "--mode", "site", "--into", inbox)
    heard = []

    def run(*arguments, more=()):
        number = len(heard)
        log = ("-vv", "--log-file", tmp_path / f"{number}.log")
        done = xnatctl(*arguments, *more, *log, env=env, stdin=stdin)
        heard.append(done.out + done.err)
        assert "Traceback (most recent call last)" not in done.err or "raises" in arguments or "doctor" in arguments
        return done

    for form in ((), ("-o", "json"))[way != "flag" :]:
        assert run(*upload, *flags, "--dry-run", more=form).code == 0
        assert run(*upload, *flags, "--trouble", "raises", more=form).code == 5
        failed = run(*upload, *flags, "--trouble", "fails", more=form)
        assert failed.code == 5
        assert run(*upload, *flags, "--no-such-flag", more=form).code == 2
        assert run(*upload, *flags, "--workers", "0", more=form).code == 2
        for command in (("upload", "status"), ("config", "show"), ("doctor",), ("plugins", "show", "site")):
            run(*command, more=form)
        run("upload", "status", identifier(xnatctl, env), more=form)
    (command,) = {line for line in failed.document["next"] if "session upload" in line}
    again = xnatctl(*split_command(command)[1:], "--trouble", "nothing", env=env, stdin=f"{CANARY}\n")
    heard.append(again.out + again.err)
    assert again.code == 0, again.err
    assert (inbox / "token.used").read_text() == CANARY
    (inbox / "token.used").unlink()
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != config}
    assert [path for path, content in written.items() if b"c4n4ry" in content] == []
    assert [text for text in heard if "c4n4ry" in text] == []
    assert b"[secret]" in written[tmp_path / "observed"]
    assert any("[secret]" in text for text in heard)


@pytest.mark.parametrize("way", ["variable", "profile", "nowhere"])
def test_resuming_reads_it_again_or_says_what_is_missing(xnatctl, install, exam, configure, inbox, way):
    env = install("site", PLUGIN)
    configure({})
    upload = ("session", "upload", exam.directory, "--mode", "site", "--into", inbox)
    # The journal records the option `trouble`, so the profile decides it here.
    configure({"trouble": "fails"})
    assert xnatctl(*upload, "--site-token", CANARY, env=env).code == 5
    _, variables, options, _ = WAYS.get(way, ((), {}, {}, ""))
    configure(options)
    done = xnatctl("upload", "resume", identifier(xnatctl, env), env={**env, **variables})
    if way == "nowhere":
        assert done.code == 2
        assert "option site_token, which is secret and not recorded" in done.err
        assert "SITE_TOKEN" in done.err
    else:
        assert done.code == 5, done.err
        assert "[secret] is not valid" in done.out, "the plugin got the value"


def test_a_value_in_the_command_line_is_warned_of(xnatctl, install, exam, inbox):
    env = install("site", PLUGIN)
    upload = ("session", "upload", exam.directory, "--mode", "site", "--into", inbox)
    assert "[env: SITE_TOKEN; - asks for it]" in " ".join(xnatctl(*upload, "--help", env=env).out.split())
    done = xnatctl(*upload, "--site-token", CANARY, env=env)
    assert done.code == 0
    assert "--site-token shows in the process list of this machine; the variable SITE_TOKEN does not" in done.err
    for flags, stdin in ((("--site-token", ""), ""), (("--site-token", "-"), "")):
        done = xnatctl(*upload, *flags, env=env, stdin=stdin)
        assert done.code == 2
        assert "--site-token is empty" in done.err


@pytest.mark.parametrize("more", ["type=int", "default='x'"])
def test_a_secret_option_that_could_not_be_masked_makes_the_plugin_broken(xnatctl, install, more):
    env = install("site", PLUGIN.replace("required=True, secret=True", f"secret=True, {more}"))
    listed = xnatctl("plugins", "list", "--check", "-o", "json", env=env)
    (row,) = [plugin for plugin in listed.document["plugins"] if plugin["name"] == "site"]
    assert row["status"] == "broken"
    assert "the secret option site_token must be of type str, without a default" in row["reason"]


@pytest.mark.parametrize("form", ["token", "quote(token, safe='')", "b64encode(f'robot:{token}'.encode()).decode()"])
def test_an_address_that_holds_it_in_any_encoding_is_refused(xnatctl, install, exam, inbox, home, form):
    """`upload status` shows the address without loading the plugin, and so without knowing the secret."""
    target = f"""
from base64 import b64encode
from urllib.parse import quote
def address_of(options):
    token = options["site_token"]
    return "https://" + {form} + "@store.example.org"
"""
    source = PLUGIN.replace('settle="none",', 'settle="none", destination="dist_site_site:address_of",') + target
    env = {**install("site", source), "SITE_TOKEN": CANARY}
    done = xnatctl("session", "upload", exam.directory, "--mode", "site", "--into", inbox, env=env)
    assert done.code == 8, done.err
    assert "puts the value of a secret option into the address" in done.err
    assert not list(inbox.iterdir())
    assert not list(home.rglob("*.sqlite"))
