"""Programs that fail are told in one sentence; those that are not there by their Debian package."""

import os
from pathlib import Path

import pytest

from deploy.image import tools
from deploy.image.tools import CommandFailed, missing, run


def test_what_is_missing_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tools, "_FOLDERS", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert {"podman (Debian package podman)", "the rights of root"} <= set(missing())
    assert len(missing()) == len(tools.DEBIAN_PACKAGES) + 1


def test_nothing_is_missing_where_all_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in tools.DEBIAN_PACKAGES:
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(tools, "_FOLDERS", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert missing() == []


def test_a_program_gets_its_input_and_variables() -> None:
    assert (
        run(["sh", "-c", 'read x; echo "$x $Y"'], seconds=10, environment={"Y": "b"}, text="a\n") == "a b\n"
    )


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["sh", "-c", "echo why; exit 3"], "ended with code 3:\nwhy"),
        (["sleep", "60"], "did not end within 0.2 s"),
        (["/nowhere/at/all"], "cannot be run: No such file"),
    ],
)
def test_a_failure_is_one_sentence(command: list[str], told: str) -> None:
    with pytest.raises(CommandFailed, match=told):
        run(command, seconds=0.2 if command[0] == "sleep" else 10)
