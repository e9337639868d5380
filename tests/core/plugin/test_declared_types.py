"""A spec whose fields are not of their types makes its plugin broken, and harms no command of anybody else."""

from __future__ import annotations

import pytest

from xnatctl.plugin import specs
from xnatctl.testing.exam import write_exam

SPEC = {"name": "own", "summary": "x", "target": "json:dumps"}
WRONG = {
    "help of an option": ("Option", {"name": "x", "help": 5}, "help of Option must be str"),
    "type of an option": ("Option", {"name": "x", "help": "x", "type": "int"}, "type of Option must be type"),
    "no choice": ("Option", {"name": "x", "help": "x", "type": ()}, "type of Option must be type"),
    "variable": ("Option", {"name": "x", "help": "x", "envvar": 5}, "envvar of Option must be str | None"),
    "order": ("CredentialSourceSpec", {**SPEC, "order": "5"}, "order of CredentialSourceSpec must be int"),
    "summary": ("FormatterSpec", {**SPEC, "summary": None}, "summary of FormatterSpec must be str"),
    "target": ("CheckSpec", {**SPEC, "target": 5}, "target of CheckSpec must be str"),
    "modules": ("StageSpec", {**SPEC, "modules": "pydicom"}, "modules of StageSpec must be tuple"),
    "options": ("TransportSpec", {**SPEC, "options": ("level",)}, "options of TransportSpec must be tuple"),
    "workers": ("TransportSpec", {**SPEC, "default_workers": "4"}, "default_workers of TransportSpec must be int"),
    "path": ("CommandSpec", {"path": 5, "summary": "x", "target": "json:dumps"}, "path of CommandSpec must be str"),
}


@pytest.mark.parametrize(("kind", "values", "reason"), WRONG.values(), ids=WRONG)
def test_it_is_named_where_it_is_declared(kind, values, reason):
    with pytest.raises(TypeError) as caught:
        getattr(specs, kind)(**values)
    assert reason in str(caught.value)


@pytest.mark.parametrize("wrong", ["order", "help of an option"])
def test_nobody_else_is_harmed(xnatctl, install, tmp_path, wrong):
    kind, values, reason = WRONG[wrong]
    words = ", ".join(f"{name}={value!r}" for name, value in values.items())
    made = f"{kind}({words})"
    if kind == "Option":
        made = f"TransportSpec(name='own', summary='x', target='json:dumps', options=({made},))"
    hook = "transports" if kind == "Option" else "credential_sources"
    env = install("own", f"from xnatctl.api import *\n@hookimpl\ndef xnatctl_{hook}():\n    return [{made}]\n")
    listed = xnatctl("plugins", "list", "--check", "-o", "json", env=env)
    (row,) = [plugin for plugin in listed.document["plugins"] if plugin["name"] == "own"]
    assert (listed.code, row["status"]) == (8, "broken")
    assert reason in row["reason"]
    exam = write_exam(tmp_path / "exam", series=1, instances=1, clutter=False).directory
    for command in (
        ("session", "upload", exam, "-P", "P", "-S", "S", "-E", "E", "--dry-run"),
        ("session", "upload", "--help"),
    ):
        done = xnatctl(*command, env=env)
        assert done.code == 0, done.err
    done = xnatctl("auth", "status", "--url", "http://127.0.0.1:9", env=env)
    assert done.code == 3, done.err
