"""A third-party plugin that takes a name which is taken disables nobody but itself, and is named with the owner."""

from __future__ import annotations

import pytest

from xnatctl.testing.exam import write_exam

HEAD = "from xnatctl.api import *\n"


def registering(hook, *specs):
    return f"{HEAD}@hookimpl\ndef xnatctl_{hook}():\n    return [{', '.join(specs)}]\n"


def transport(name, *options):
    made = "".join(f"Option(name={option!r}, help='x')," for option in options)
    return f"TransportSpec(name={name!r}, summary='x', target='json:dumps', options=({made}))"


def spec(kind, **fields):
    words = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"{kind}({words}, summary='x', target='json:dumps')"


TAKEN = {
    "transport": (registering("transports", transport("tar")), "its transport tar belongs to plugin zip"),
    "option": (registering("transports", transport("mine", "compress")), "its option --compress belongs to plugin zip"),
    "option of core": (registering("transports", transport("mine", "wait")), "its option --wait belongs to xnatctl"),
    "argument of core": (registering("transports", transport("mine", "path")), "its option --path belongs to xnatctl"),
    "negated": (registering("transports", transport("mine", "no_resume")), "its option --no-resume belongs to xnatctl"),
    "source": (
        registering("credential_sources", spec("CredentialSourceSpec", name="netrc")),
        "its credential source netrc belongs to plugin credentials",
    ),
    "format": (
        registering("formatters", spec("FormatterSpec", name="json")),
        "its output format json belongs to plugin output",
    ),
    "command": (
        registering("commands", spec("CommandSpec", path="session list")),
        "its command session list belongs to plugin archive",
    ),
    "command of core": (
        registering("commands", spec("CommandSpec", path="upload status")),
        "its command upload status belongs to xnatctl itself",
    ),
    "group": (registering("commands", spec("CommandSpec", path="session")), "its command session belongs to plugin"),
    "below": (
        registering("commands", spec("CommandSpec", path="session list all")),
        "its command session list all belongs to plugin archive",
    ),
    "check": (registering("checks", spec("CheckSpec", name="login")), "its check login belongs to xnatctl itself"),
    "stage": (
        registering("stages", spec("StageSpec", name="resource")),
        "its stage resource belongs to plugin resource",
    ),
    "option of an executor": (
        registering(
            "executors",
            "ExecutorSpec(name='e', summary='x', target='json:dumps', options=(Option(name='wait', help='x'),))",
        ),
        "its option --wait belongs to xnatctl",
    ),
    "option of a report writer": (
        registering(
            "report_writers",
            "ReportWriterSpec(name='r', summary='x', target='json:dumps', options=(Option(name='receipt', help='x'),))",
        ),
        "its option --receipt belongs to plugin receipt",
    ),
    "report writer": (
        registering("report_writers", "ReportWriterSpec(name='receipt', summary='x', target='json:dumps')"),
        "its report writer receipt belongs to plugin receipt",
    ),
    "stage of core": (registering("stages", spec("StageSpec", name="session")), "its stage session belongs to xnatctl"),
}


@pytest.fixture
def exam(tmp_path):
    folder = tmp_path / "exam"
    write_exam(folder, series=1, instances=1, seed=1, clutter=False)
    return folder


def states(xnatctl, env, *flags, code):
    listed = xnatctl("plugins", "list", *flags, "-o", "json", env=env)
    assert listed.code == code, listed.err
    return {f"{row['distribution']}:{row['name']}": row for row in listed.document["plugins"]}, listed.err


@pytest.mark.parametrize("kind", TAKEN)
def test_ours_stays_active(xnatctl, install, kind):
    source, reason = TAKEN[kind]
    env = install("other", source, distribution="other-dist", version="2.0")
    rows, said = states(xnatctl, env, "--check", code=8)
    assert rows["other-dist:other"]["status"] == "clash"
    assert reason in rows["other-dist:other"]["reason"]
    if "itself" not in reason and reason.split()[-1] != "xnatctl":
        assert "(xnatctl 0." in rows["other-dist:other"]["reason"], "with the distribution"
    ours = {name: row["status"] for name, row in rows.items() if name.startswith("xnatctl:")}
    assert set(ours.values()) <= {"active", "unmet"}
    (warning,) = [line for line in said.splitlines() if line.startswith("Warning: Plugin other")]
    assert "from other-dist 2.0) clashes with another and was disabled" in warning
    assert "XNATCTL_BLOCK_PLUGINS=other." in warning


def test_commands_and_doctor_say_the_same(xnatctl, install, exam):
    env = install("other", TAKEN["transport"][0], distribution="other-dist", version="2.0")
    upload = ("session", "upload", exam, "-P", "P", "-S", "S", "-E", "E", "--dry-run")
    done = xnatctl(*upload, env=env)
    assert done.code == 0, done.err
    assert TAKEN["transport"][1] in done.err
    checked = xnatctl("doctor", "--url", "http://127.0.0.1:9", "-o", "json", env=env)
    assert checked.code == 8
    (line,) = [row for row in checked.document["checks"] if row["check"] == "plugins"]
    assert (line["status"], line["hint"]) == ("failed", "xnatctl plugins block other")
    assert f"clash: other (other-dist 2.0), {TAKEN['transport'][1]}" in line["message"]
    assert xnatctl("plugins", "block", "other", env=env).code == 0
    assert "other" not in xnatctl(*upload, env=env).err
    checked = xnatctl("doctor", "--url", "http://127.0.0.1:9", "-o", "json", env=env)
    (line,) = [row for row in checked.document["checks"] if row["check"] == "plugins"]
    assert line["status"] == "ok"
    assert "blocked: other (other-dist 2.0), blocked by the configuration file" in line["message"]


def test_replacing_ours_is_blocking_it(xnatctl, install):
    env = install("other", TAKEN["transport"][0])
    rows, _ = states(xnatctl, {**env, "XNATCTL_BLOCK_PLUGINS": "zip"}, "--check", code=0)
    assert rows["dist-other:other"]["provides"] == ["transport tar"]
    assert rows["dist-other:other"]["status"] == "active"


def test_between_two_others_neither_is_chosen(xnatctl, install, exam):
    one = registering("transports", transport("site"), transport("one"))
    env = install("one", one) | install("two", registering("transports", transport("site")))
    rows, _ = states(xnatctl, env, "--check", code=8)
    assert rows["dist-one:one"]["status"] == rows["dist-two:two"]["status"] == "clash"
    assert "its transport site is also that of plugin two (dist-two 1.0)" in rows["dist-one:one"]["reason"]
    assert "its transport site is also that of plugin one (dist-one 1.0)" in rows["dist-two:two"]["reason"]
    upload = ("session", "upload", exam, "-P", "P", "-S", "S", "-E", "E", "--dry-run")
    done = xnatctl(*upload, "--mode", "site", env=env)
    assert done.code == 8
    assert (
        "The transport site comes from plugin one, which clashes with another: its transport site is also" in done.err
    )
    rows, _ = states(xnatctl, {**env, "XNATCTL_BLOCK_PLUGINS": "one"}, "--check", code=0)
    assert rows["dist-two:two"]["status"] == "active"


def test_one_that_is_disabled_takes_no_name(xnatctl, install):
    """The first takes `tar`, so it is disabled, and the second has `site` for itself."""
    env = install("one", registering("transports", transport("tar"), transport("site")))
    env |= install("two", registering("transports", transport("site")))
    rows, _ = states(xnatctl, env, "--check", code=8)
    assert rows["dist-one:one"]["status"] == "clash"
    assert rows["dist-two:two"]["status"] == "active"


def test_two_entry_points_of_one_name(xnatctl, install):
    source = registering("transports", transport("mine"))
    env = install("zip", source, distribution="other-dist")
    rows, _ = states(xnatctl, env, code=0)
    assert rows["xnatctl:zip"]["status"] == "active"
    assert rows["other-dist:zip"]["status"] == "clash"
    assert "its name zip belongs to xnatctl 0." in rows["other-dist:zip"]["reason"]
    assert xnatctl("plugins", "show", "zip", "-o", "json", env=env).document["distribution"] == "xnatctl"
    shown = xnatctl("plugins", "show", "Other_Dist:zip", "-o", "json", env=env).document
    assert (shown["distribution"], shown["status"]) == ("other-dist", "clash")
    env |= install("zip", source, distribution="third-dist")
    rows, _ = states(xnatctl, {**env, "XNATCTL_BLOCK_PLUGINS": "xnatctl:zip"}, code=0)
    assert rows["xnatctl:zip"]["status"] == "blocked"
    assert rows["other-dist:zip"]["status"] == rows["third-dist:zip"]["status"] == "clash"
    assert "its name zip is also that of third-dist 1.0" in rows["other-dist:zip"]["reason"]
    one = {**env, "XNATCTL_BLOCK_PLUGINS": "xnatctl:zip,third-dist:zip"}
    rows, _ = states(xnatctl, one, "--check", code=0)
    assert rows["other-dist:zip"]["status"] == "active"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (registering("transports", transport("a"), transport("a")), "it provides the transport a twice"),
        (registering("transports", transport("a", "x", "x")), "the transport a declares the option --x twice"),
        (registering("transports", transport("a", "X")), "lower-case letters, digits and _, not 'X'"),
        (registering("transports", transport("a", "x-y")), "lower-case letters, digits and _, not 'x-y'"),
        (
            registering(
                "transports", transport("a", "no_x").replace(",))", ", Option(name='x', help='', type=bool)))")
            ),
            "the transport a declares the option --no-x twice",
        ),
        (
            registering("transports", transport("a", "x"), transport("b", "x").replace("'x')", "'x', type=int)")),
            "its transports declare the option --x in two ways",
        ),
        (
            registering("commands", spec("CommandSpec", path="a b"), spec("CommandSpec", path="a")),
            "its command a is the group of its command a b",
        ),
        (registering("transports", transport(" ")), "' ' cannot be a name (transport)"),
        (registering("formatters", spec("FormatterSpec", name="-x")), "'-x' cannot be a name (output format)"),
    ],
)
def test_one_that_contradicts_itself_is_broken(xnatctl, install, source, reason):
    rows, _ = states(xnatctl, install("own", source), "--check", code=8)
    assert rows["dist-own:own"]["status"] == "broken"
    assert reason in rows["dist-own:own"]["reason"]


def test_options_of_uploads_are_reserved():
    """An option of a transport cannot be an option of a command that uploads."""
    pytest.importorskip("pydicom", reason="the sandbox extra is not installed")
    import click

    from xnatctl.cli.options import TransportOptionsCommand
    from xnatctl.cli.reserved import RESERVED
    from xnatctl.plugin.manager import PluginManager
    from xnatctl.plugin.policy import Policy
    from xnatctl.plugin.registry import Registry

    registry = Registry(PluginManager(Policy(external=False)))
    found = set()
    for provided in registry.commands(level=1).values():
        command = registry.load(provided, unmet=True)
        if isinstance(command, TransportOptionsCommand):
            found |= {f"--{parameter.name.replace('_', '-')}" for parameter in command.params}
            options = [option for option in command.params if isinstance(option, click.Option)]
            found |= {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
    assert {flag for flag in found if flag.startswith("--")} <= set(RESERVED["option"])
