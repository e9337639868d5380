"""The hint about different files of a resource names the flag of the command in use."""

from __future__ import annotations

from xnatctl.testing import write_exam


def test_the_hint_names_the_flag_of_this_command(xnatctl, sandbox, alice, tmp_path):
    root = tmp_path / "exam"
    write_exam(root, series=1, instances=2, clutter=False)
    (root / "NOTES").mkdir()
    note = root / "NOTES" / "note.txt"
    note.write_text("one")
    exam = ("session", "upload-exam", root, "-P", "DEMO", "-S", "s", "-E", "e")
    assert xnatctl(*exam, env=alice).code == 0
    note.write_text("other")
    again = xnatctl(*exam, "--overwrite", "append", env=alice)
    assert again.code != 0
    assert "run the same command with --overwrite delete.\n" in again.err
    resource = xnatctl("resource", "upload", "e", "NOTES", root / "NOTES", "-P", "DEMO", env=alice)
    assert resource.code != 0
    assert "run the same command with --overwrite.\n" in resource.err
