"""What pluggy documents of a hook implementation holds here as well, or is refused with the reason."""

from __future__ import annotations

import pytest

HEAD = "from xnatctl.api import Refused, hookimpl\n"
NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")


def planner(name, options="", arguments="request"):
    """Says that it was asked, and leaves the plan to the next."""
    return HEAD + (
        f"@hookimpl({options})\ndef xnatctl_plan_upload({arguments}):\n"
        f"    import sys\n    print('asked {name}', file=sys.stderr)\n"
    )


def test_planners_are_asked_in_the_order_that_they_wish(xnatctl, install, own_exam):
    for name, options in (("aa", "trylast=True"), ("bb", ""), ("cc", ""), ("dd", "tryfirst=True")):
        env = install(name, planner(name, options))
    done = xnatctl("session", "upload", own_exam.directory, *NAMES, "--dry-run", env=env)
    assert done.code == 0, done.err
    assert [line for line in done.err.splitlines() if line.startswith("asked")] == [
        "asked dd", "asked bb", "asked cc", "asked aa",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "source", [planner("few", arguments=""), planner("few").replace("xnatctl_plan_upload", "plan")]
)
def test_a_planner_takes_what_it_declares_under_the_name_that_it_has(xnatctl, install, own_exam, source):
    source = source.replace("@hookimpl()\ndef plan(", "@hookimpl(specname='xnatctl_plan_upload')\ndef plan(")
    env = install("few", source)
    done = xnatctl("session", "upload", own_exam.directory, *NAMES, "--dry-run", env=env)
    assert done.code == 0, done.err
    assert "asked few" in done.err
    shown = xnatctl("plugins", "show", "few", "-o", "json", env=env).document
    assert shown["hooks"] == ["xnatctl_plan_upload"]


def test_observers_too(xnatctl, install, alice, own_exam, tmp_path):
    for name, options, arguments in (("aa", "trylast=True", ""), ("bb", "", "event"), ("cc", "tryfirst=True", "")):
        told = tmp_path / "told"
        env = install(
            name,
            HEAD + f"@hookimpl({options})\ndef xnatctl_on_event({arguments}):\n"
            f"    with open({str(told)!r}, 'a') as file:\n        file.write('{name} ')\n",
        )
    assert xnatctl("session", "upload", own_exam.directory, *NAMES, env={**alice, **env}).code == 0
    words = told.read_text().split()
    assert len(words) > 3
    assert words == ["cc", "bb", "aa"] * (len(words) // 3)


@pytest.mark.parametrize("options", ["wrapper=True", "hookwrapper=True"])
@pytest.mark.parametrize("hook", ["xnatctl_plan_upload(request)", "xnatctl_on_event(event)", "xnatctl_transports()"])
def test_a_wrapper_is_refused_with_the_reason(xnatctl, install, own_exam, options, hook):
    env = install("around", HEAD + f"@hookimpl({options})\ndef {hook}:\n    return (yield)\n")
    done = xnatctl("session", "upload", own_exam.directory, *NAMES, "--dry-run", env=env)
    assert done.code == 0, "the rest works without it"
    assert "is a wrapper around other plugins" in done.err
    (row,) = [
        plugin
        for plugin in xnatctl("plugins", "list", "--check", "-o", "json", env=env).document["plugins"]
        if plugin["name"] == "around"
    ]
    assert row["status"] == "broken"
    assert "wrapper" in row["reason"]


def test_an_optional_hook_of_another_version_is_no_mistake(xnatctl, install):
    env = install("newer", HEAD + "@hookimpl(optionalhook=True)\ndef xnatctl_of_tomorrow(x):\n    return 1\n")
    listed = xnatctl("plugins", "list", "--check", "-o", "json", env=env).document["plugins"]
    assert {plugin["status"] for plugin in listed if plugin["name"] == "newer"} == {"active"}
