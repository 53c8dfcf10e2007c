"""A patch of locks is one that git applies, whatever the files hold."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.git.lock_patch import ChangedFile, lock_patch
from tests.unit.git.serving import run_git

LONG = "".join(f"line: {number}\n" for number in range(60))
CASES = {
    "moved": ChangedFile("images/definitions/a.lock.yaml", LONG, LONG.replace("line: 3\n", "line: three\n").replace("line: 50\n", "")),
    "added": ChangedFile("images/definitions/new.lock.yaml", None, "a: 1\nb: 2\n"),
    "removed": ChangedFile("images/definitions/old.lock.yaml", "a: 1\n", None),
    "no newline before": ChangedFile("x.yaml", "a: 1\nb: 2", "a: 1\nb: 3\n"),
    "no newline after": ChangedFile("x.yaml", "a: 1\nb: 2\n", "a: 1\nb: 3"),
    "no newline in both": ChangedFile("x.yaml", "a: 1\nb: 2", "b: 2"),
    "emptied": ChangedFile("x.yaml", "a: 1\n", ""),
    "filled": ChangedFile("x.yaml", "", "a: 1\n"),
    "other line ends": ChangedFile("x.yaml", "a: 1\r\nb: \x0c2\u2028x\n", "a: 1\r\nb: \x0c3\u2028x\n"),
}


def _applied(folder: Path, files: list[ChangedFile]) -> dict[str, str]:
    """The files after `git apply` of their patch."""
    for file in files:
        if file.old is not None:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.old.encode())
    run_git(folder, "init", "--quiet")
    patch = folder / ".git" / "locks.patch"
    patch.write_bytes(lock_patch(files).encode())
    run_git(folder, "apply", "--check", str(patch))
    run_git(folder, "apply", str(patch))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


@pytest.mark.parametrize("name", CASES)
def test_git_applies_the_patch_and_has_the_new_file(tmp_path: Path, name: str) -> None:
    file = CASES[name]
    assert _applied(tmp_path, [file]) == ({} if file.new is None else {file.path: file.new})


def test_several_files_are_one_patch_in_the_order_of_their_paths(tmp_path: Path) -> None:
    files = [CASES["added"], CASES["removed"], CASES["moved"]]
    patch = lock_patch(files)
    heads = [line for line in patch.splitlines() if line.startswith("diff ")]
    assert heads == sorted(heads)
    assert lock_patch(reversed(files)) == patch
    assert sorted(_applied(tmp_path, files)) == ["images/definitions/a.lock.yaml", "images/definitions/new.lock.yaml"]


def test_nothing_changed_is_an_empty_patch() -> None:
    assert lock_patch([ChangedFile("a", "x", "x")]) == lock_patch([]) == ""


@settings(max_examples=25, deadline=None)
@given(old=st.text("ab\n\r\x0c", max_size=12), new=st.text("ab\n\r\x0c", max_size=12))
def test_any_change_of_a_text_is_applied(old: str, new: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if old != new:
            assert _applied(Path(folder), [ChangedFile("x", old, new)]) == {"x": new}


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "a//b", ".git/config", "a\nb", 'a"b', "a b", ""])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a plain path"):
        lock_patch([ChangedFile(path, None, "x")])
